"""What the categories of coded worlds are about: a thing, and another that belongs to it.

All things share one stock of attributes, since a word that a held-out category alone had could mean nothing to anyone.
What no corpus and no training task holds are the categories, their things, and the names of unseen tools.
"""

from dataclasses import dataclass
from random import Random

from common.world.coded.words import BY_NAME, MEANINGS, Meaning

ATTRIBUTES = 8
"""How many each thing has."""


@dataclass(frozen=True)
class Domain:
    """A category: its APIs answer questions about a `thing`, and about the `part` that each thing has."""

    category: str
    thing: str
    part: str


DOMAINS = (
    Domain("Weather", "city", "river"),
    Domain("Finance", "stock", "bank"),
    Domain("Sports", "team", "stadium"),
    Domain("Movies", "movie", "studio"),
    Domain("Music", "song", "band"),
    Domain("Food", "recipe", "farm"),
    Domain("Travel", "hotel", "beach"),
    Domain("Logistics", "parcel", "depot"),
    Domain("Books", "book", "library"),
    Domain("Education", "course", "school"),
    Domain("Cars", "car", "garage"),
    Domain("Jobs", "company", "factory"),
)
HELD_OUT_DOMAINS = (
    Domain("Aviation", "flight", "runway"),
    Domain("Geology", "volcano", "crater"),
    Domain("Medicine", "drug", "clinic"),
    Domain("Astronomy", "planet", "moon"),
    Domain("Gardening", "flower", "garden"),
    Domain("Games", "puzzle", "league"),
    Domain("Fashion", "shoe", "shop"),
    Domain("Art", "statue", "museum"),
)


def attributes_of(thing: str) -> tuple[Meaning, ...]:
    """What one may ask about a `thing`; the same in every world."""
    return _ATTRIBUTES[thing]


def _draw(thing: str) -> tuple[Meaning, ...]:
    names = sorted(meaning.name for meaning in MEANINGS)
    return tuple(BY_NAME[name] for name in Random(f"attributes of a {thing}").sample(names, ATTRIBUTES))


_ATTRIBUTES = {thing: _draw(thing) for each in DOMAINS + HELD_OUT_DOMAINS for thing in (each.thing, each.part)}
