"""Tasks: a user's query, the APIs on offer, and the calls that solve it with what they return."""

from dataclasses import dataclass
from random import Random

from common.world import phrasing
from common.world.names import identifier, proper_name
from common.world.tools import SEARCH, Api, Tool

Value = str | int


@dataclass(frozen=True)
class Call:
    """One API call of a solution, the thought before it and the response after it."""

    thought: str
    api: Api
    arguments: dict[str, Value]
    response: dict[str, Value]


@dataclass(frozen=True)
class Task:
    """A query and its solution. `apis` are those on offer, in the prompt's order; only some of them are called."""

    query: str
    apis: tuple[Api, ...]
    calls: tuple[Call, ...]
    closing_thought: str
    answer: str


def draw_task(rng: Random, tools: tuple[Tool, ...]) -> Task:
    """Draw a task on one of `tools`: one or two facts of a thing, found in one to three calls."""
    tool = rng.choice(tools)
    wanted = _wanted_apis(rng, tool)
    thing = tool.domain.thing
    given_id = tool.search is not None and rng.random() < 0.4
    subject = identifier(rng) if given_id else proper_name(rng)
    calls = [] if given_id or tool.search is None else [_search(rng, tool.search, subject)]
    key = calls[0].response[SEARCH] if calls else subject
    calls += [_ask(rng, tool, api, subject, key) for api in wanted]
    found = {call.api.fact: call.response[call.api.fact] for call in calls if call.api.fact != SEARCH}
    return Task(
        query=phrasing.ask(rng, [api.fact for api in wanted], thing, subject),
        apis=_offer(rng, tool, [call.api for call in calls], tools),
        calls=tuple(calls),
        closing_thought=phrasing.closing_thought(rng),
        answer=phrasing.answer(rng, subject, found),
    )


def _wanted_apis(rng: Random, tool: Tool) -> list[Api]:
    if rng.random() < 0.4:
        return rng.sample(tool.apis, 2)
    return [rng.choice(tool.apis)]


def _search(rng: Random, api: Api, subject: str) -> Call:
    thought = phrasing.thought_on_search(rng, api.thing, subject)
    return Call(thought, api, {api.required[0].name: subject}, {"name": subject, SEARCH: identifier(rng)})


def _ask(rng: Random, tool: Tool, api: Api, subject: str, key: Value) -> Call:
    arguments: dict[str, Value] = {api.required[0].name: key}
    others = [fact for fact in tool.domain.facts if fact != api.fact]
    facts = [api.fact, *rng.sample(others, rng.choice((0, 0, 1)))]
    rng.shuffle(facts)
    response = {api.required[0].name: key} | {fact: _value(rng) for fact in facts}
    return Call(phrasing.thought_on_fact(rng, api.fact, subject), api, arguments, response)


def _value(rng: Random) -> Value:
    return rng.randint(2, 9) if rng.random() < 0.3 else proper_name(rng)


def _offer(rng: Random, tool: Tool, called: list[Api], tools: tuple[Tool, ...]) -> tuple[Api, ...]:
    """Draw the 2-4 APIs on offer: those called and distractors, some of them from another tool of the category."""
    facts = {api.fact for api in called} | {SEARCH}
    siblings = [each for each in tools if each.domain == tool.domain and each != tool]
    other = rng.choice(siblings) if siblings and rng.random() < 0.5 else None
    own = [*tool.apis, *([tool.search] if tool.search else [])]
    spare = [api for api in own if api not in called]
    foreign = [api for api in other.apis if api.fact not in facts] if other else []
    count = max(2, min(4, len(called) + rng.choice((1, 1, 2)))) - len(called)
    distractors = rng.sample(spare, min(count, len(spare)))
    if foreign and distractors:
        distractors[-1] = rng.choice(foreign)
    apis = [*called, *distractors]
    rng.shuffle(apis)
    return tuple(apis)
