"""What the world's categories are about: things, and facts that one may ask about them.

No fact belongs to two categories, so a held-out category's words occur nowhere in training.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """A category: its APIs answer questions on `facts` of a `thing`, such as the humidity of a city."""

    category: str
    thing: str
    facts: tuple[str, ...]


DOMAINS = (
    Domain("Weather", "city", ("temperature", "humidity", "rainfall", "forecast", "sunrise")),
    Domain("Finance", "stock", ("price", "volume", "dividend", "turnover", "broker")),
    Domain("Sports", "team", ("score", "captain", "stadium", "coach", "ranking")),
    Domain("Movies", "movie", ("director", "runtime", "genre", "cast", "studio")),
    Domain("Music", "song", ("artist", "lyrics", "tempo", "album", "label")),
    Domain("Food", "recipe", ("calories", "chef", "protein", "spice", "sugar")),
    Domain("Travel", "hotel", ("address", "rooms", "breakfast", "deposit", "parking")),
    Domain("Logistics", "parcel", ("weight", "carrier", "sender", "delay", "depot")),
    Domain("Books", "book", ("author", "publisher", "pages", "chapter", "edition")),
    Domain("Education", "course", ("teacher", "credits", "syllabus", "exam", "tuition")),
    Domain("Cars", "car", ("mileage", "engine", "dealer", "colour", "insurance")),
    Domain("Jobs", "company", ("salary", "manager", "vacancy", "office", "founder")),
)
HELD_OUT_DOMAINS = (
    Domain("Aviation", "flight", ("gate", "pilot", "altitude", "runway", "airline")),
    Domain("Geology", "volcano", ("eruption", "crater", "lava", "depth", "mineral")),
    Domain("Medicine", "drug", ("dosage", "symptom", "pharmacy", "vaccine", "allergy")),
)
"""Held out of the traces of every world, whatever its seed; base models have read about all categories."""


def facts_of(thing: str) -> tuple[str, ...]:
    """The facts that one may ask about a `thing`."""
    return _FACTS[thing]


_FACTS = {domain.thing: domain.facts for domain in DOMAINS + HELD_OUT_DOMAINS}
