"""Thoughts where names are codes: what is needed, its word last, so that the Action's name comes right behind it."""

from random import Random

from common.world.phrasing import Wording, draw

_FACT = (
    "To help the user I need the {fact}",
    "Now I look up the {fact}",
    "What I want to know is the {fact}",
    "Something is still missing: the {fact}",
)
_SEARCH = (
    "First of all I need the id",
    "Before the rest I look up the id",
    "What I want to know first is the id",
    "The name {name} is no id, so I ask for the id",
)
_PART = (
    "First of all I need the {part}",
    "Before the rest I look up the {part}",
    "What I want to know first is the {part}",
    "The user asks about another thing: the {part}",
)
_FAILURE = (
    "That call failed, but another one gives the {fact}",
    "An error came back, so I still look up the {fact}",
    "What I want to know once more is the {fact}",
    "There is another way to the {fact}",
)


def on_fact(rng: Random, fact: str) -> Wording:
    return draw(rng, _FACT, fact=fact)


def on_search(rng: Random, name: str) -> Wording:
    return draw(rng, _SEARCH, name=name)


def on_part(rng: Random, part: str) -> Wording:
    return draw(rng, _PART, part=part)


def on_failure(rng: Random, fact: str) -> Wording:
    return draw(rng, _FAILURE, fact=fact)
