"""Tasks of coded worlds drawn: which facts are asked, in which words, and the calls that find them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from common.world import phrasing
from common.world.catalogue import Api, Tool
from common.world.coded import thoughts
from common.world.coded.offer import offer, tells
from common.world.coded.subjects import Subject, call, draw_subject
from common.world.coded.words import BY_NAME, phrase
from common.world.entities import Attribute, Fact, Table
from common.world.responses import FAILURES, UNIT
from common.world.tasks import Call, Task

MOST_CALLS = 4


@dataclass(frozen=True)
class _Wish:
    """An attribute that a query asks for, how it says it, and the API that was thought of."""

    api: Api
    attribute: Attribute
    said: str


def tasks(rng: Random, tools: Sequence[Tool], table: Table, other_words: float, offered: int) -> Iterator[Task]:
    """Draw tasks on `tools` without end: one or two facts, of a thing or of its part, found in one to four calls.

    A share `other_words` of queries says it in other words than descriptions do; `offered` APIs tell attributes.
    """
    categories: dict[str, list[Tool]] = {}
    for tool in tools:
        categories.setdefault(tool.category, []).append(tool)
    while True:
        tool = rng.choice(tools)
        siblings = [each for each in categories[tool.category] if each.name != tool.name]
        yield draw_task(rng, tool, siblings, table, other_words, offered)


def draw_task(
    rng: Random, tool: Tool, siblings: Sequence[Tool], table: Table, other_words: float, offered: int
) -> Task:
    """Draw a task on `tool`, where some of its category's other tools may be on offer too."""
    while True:
        subject = draw_subject(rng, tool, table)
        wishes = _wishes(rng, tool, subject, other_words)
        calls = _calls(rng, subject, wishes, siblings)
        query = phrasing.ask_about(rng, [wish.said for wish in wishes], subject.said)
        values = [str(subject.entity.values[wish.attribute]) for wish in wishes]
        codes = {call.api.name for call in calls}
        if calls and len(codes) == len(calls) <= MOST_CALLS and not set(values) & set(re.findall(r"\w+", query)):
            break
    found = {wish.said: value for wish, value in zip(wishes, values, strict=True)}
    asked = [wish.attribute for wish in wishes]
    apis = offer(rng, tool, siblings, [call.api for call in calls], subject.thing, asked, offered)
    closing, answer = phrasing.closing_thought(rng), phrasing.answer(rng, subject.said, found)
    return Task(
        query=query,
        asked=tuple(Fact(subject.thing, subject.entity.name, attribute) for attribute in asked),
        apis=apis,
        calls=calls,
        closing_thought=closing.text,
        answer=answer.text,
        closing_nats=closing.nats + answer.nats,
    )


def _wishes(rng: Random, tool: Tool, subject: Subject, other_words: float) -> list[_Wish]:
    apis = [api for api in tool.apis if api.word and api.thing == subject.thing]
    others = rng.random() < other_words
    return [_wish(rng, api, others) for api in rng.sample(apis, rng.choice((1, 2)))]


def _wish(rng: Random, api: Api, others: bool) -> _Wish:
    unit = rng.choice(api.parameters[UNIT].choices) if UNIT in api.parameters else api.attribute.unit
    words = BY_NAME[api.attribute.name].words
    word = rng.choice([word for word in words if word != api.word]) if others else api.word
    return _Wish(api, api.attribute._replace(unit=unit), phrase(word, api.attribute.moment, unit))


def _calls(rng: Random, subject: Subject, wishes: Sequence[_Wish], siblings: Sequence[Tool]) -> tuple[Call, ...]:
    """The whole solution; none where an API fails and no other tells the same."""
    calls = [*subject.calls]
    for wish in wishes:
        thought = thoughts.on_fact(rng, wish.said)
        calls.append(call(thought, wish.api, subject.entity, subject.key, wish.said, wish.attribute.unit))
        if wish.api.status in FAILURES:
            substitute = _substitute(rng, wish, subject, siblings)
            if substitute is None:
                return ()
            thought = thoughts.on_failure(rng, wish.said)
            calls.append(call(thought, substitute, subject.entity, subject.key, wish.said, wish.attribute.unit))
    return tuple(calls)


def _substitute(rng: Random, wish: _Wish, subject: Subject, siblings: Sequence[Tool]) -> Api | None:
    """Another API that works and tells what `wish` is for."""
    apis = [
        api
        for tool in siblings
        for api in tool.apis
        if tells(api, subject.thing, wish.attribute) and api.by_id == wish.api.by_id and api.status not in FAILURES
    ]
    return rng.choice(apis) if apis else None
