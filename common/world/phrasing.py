"""The world's sentences. Paraphrases have unequal weights, so that the teacher's distribution is worth learning."""

from collections.abc import Mapping
from math import log
from random import Random
from typing import NamedTuple

_WEIGHTS = (4, 3, 2, 1)

_QUERIES = (
    "What is the {facts} of the {thing} {subject}?",
    "Please tell me the {facts} of {subject}.",
    "I want to know the {facts} of the {thing} {subject}.",
    "Could you find the {facts} of {subject} for me?",
)
_SEARCHING = (
    "I know the name {subject} but not its id. I should search for it first.",
    "First I need the id of {subject}.",
    "The function asks for an id, so let me find the {thing} {subject}.",
    "Before anything else I look for the id of this {thing}.",
)
_WHOLE_QUERIES = (
    "What is the {facts} of {whole}?",
    "Please tell me the {facts} of {whole}.",
    "I want to know the {facts} of {whole}.",
    "Could you find the {facts} of {whole} for me?",
)
_ASKING = (
    "I need the {fact} of {subject}.",
    "Now I should look up the {fact}.",
    "The {fact} is still missing, so let me ask for it.",
    "To help the user, I call the function that gives the {fact}.",
)
_CLOSING = (
    "I have all that I need to answer.",
    "Now I can give the final answer.",
    "The results are enough to answer the user.",
    "Nothing is missing, so I finish here.",
)
_ANSWERS = (
    "The {fact} of {subject} is {value}{more}.",
    "I found that the {fact} of {subject} is {value}{more}.",
    "For {subject}, the {fact} is {value}{more}.",
    "Here it is: the {fact} of {subject} is {value}{more}.",
)


class Wording(NamedTuple):
    """A sentence as it was drawn."""

    text: str
    nats: float
    """How surprising the draw was: the negative natural logarithm of its probability."""


def ask(rng: Random, facts: list[str], thing: str, subject: str) -> str:
    """Word a user's query."""
    return draw(rng, _QUERIES, facts=" and the ".join(facts), thing=thing, subject=subject).text


def ask_about(rng: Random, facts: list[str], whole: str) -> str:
    """Word a user's query about `whole`, such as `the beach of the hotel Kun`."""
    return draw(rng, _WHOLE_QUERIES, facts=" and the ".join(facts), whole=whole).text


def thought_on_search(rng: Random, thing: str, subject: str) -> Wording:
    return draw(rng, _SEARCHING, thing=thing, subject=subject)


def thought_on_fact(rng: Random, fact: str, subject: str) -> Wording:
    return draw(rng, _ASKING, fact=fact, subject=subject)


def closing_thought(rng: Random) -> Wording:
    return draw(rng, _CLOSING)


def answer(rng: Random, subject: str, found: Mapping[str, str | int]) -> Wording:
    """Word the final answer: every fact asked for with the value that was found."""
    (fact, value), *others = found.items()
    more = "".join(f" and the {other} is {its_value}" for other, its_value in others)
    return draw(rng, _ANSWERS, fact=fact, subject=subject, value=str(value), more=more)


def draw(rng: Random, sentences: tuple[str, ...], **words: str) -> Wording:
    """Draw one of four paraphrases, an earlier one more often, and put in `words`."""
    ((sentence, weight),) = rng.choices(list(zip(sentences, _WEIGHTS, strict=True)), _WEIGHTS)
    return Wording(sentence.format(**words), log(sum(_WEIGHTS) / weight))
