"""Thoughts where names are codes: what is needed and, right after the word for it, the function that gives it.

Which function to call is decided there; the Action after it repeats the name.
"""

from random import Random

from common.world.phrasing import Wording, draw

_FACT = (
    'To help the user, the {fact} comes from "{function}".',
    'Now I look up the {fact} with "{function}".',
    'What gives the {fact} is "{function}".',
    'The {fact} is still missing, so I call "{function}".',
)
_SEARCH = (
    'First of all, the id comes from "{function}".',
    'Before the rest I look up the id with "{function}".',
    'What finds the id is "{function}".',
    'The name {name} is no id, so I call "{function}".',
)
_PART = (
    'First of all, the {part} comes from "{function}".',
    'Before the rest I look up the {part} with "{function}".',
    'What finds the {part} is "{function}".',
    'The user asks about the {part}, so I call "{function}".',
)
_FAILURE = (
    'That call failed, but the {fact} also comes from "{function}".',
    'An error came back, so I look up the {fact} with "{function}".',
    'What else gives the {fact} is "{function}".',
    'I still need the {fact}, so I call "{function}".',
)


def on_fact(rng: Random, fact: str, function: str) -> Wording:
    return draw(rng, _FACT, fact=fact, function=function)


def on_search(rng: Random, name: str, function: str) -> Wording:
    return draw(rng, _SEARCH, name=name, function=function)


def on_part(rng: Random, part: str, function: str) -> Wording:
    return draw(rng, _PART, part=part, function=function)


def on_failure(rng: Random, fact: str, function: str) -> Wording:
    return draw(rng, _FAILURE, fact=fact, function=function)
