"""Tasks: a user's query, the APIs on offer, and the calls that solve it with what they return."""

from dataclasses import dataclass
from random import Random

from common.world import phrasing
from common.world.entities import Fact, Facts, Value
from common.world.tools import SEARCH, Api, Tool


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
    asked: tuple[Fact, ...]
    apis: tuple[Api, ...]
    calls: tuple[Call, ...]
    closing_thought: str
    answer: str


def draw_task(rng: Random, tools: tuple[Tool, ...], facts: Facts) -> Task:
    """Draw a task on one of `tools`: one or two facts of a thing, found in one to three calls."""
    tool = rng.choice(tools)
    wanted = _wanted_apis(rng, tool)
    thing = tool.domain.thing
    given_id = tool.search is not None and rng.random() < 0.4
    name, subject = facts.subject(rng, tool.domain, given_id)
    calls = [] if given_id or tool.search is None else [_search(rng, tool, tool.search, subject, facts)]
    key = str(calls[0].response[SEARCH]) if calls else subject
    calls += [_ask(rng, tool, api, subject, key, facts) for api in wanted]
    found = {call.api.fact: call.response[call.api.fact] for call in calls if call.api.fact != SEARCH}
    return Task(
        query=phrasing.ask(rng, [api.fact for api in wanted], thing, subject),
        asked=tuple(Fact(thing, name, api.fact) for api in wanted),
        apis=_offer(rng, tool, [call.api for call in calls], tools),
        calls=tuple(calls),
        closing_thought=phrasing.closing_thought(rng),
        answer=phrasing.answer(rng, subject, found),
    )


def _wanted_apis(rng: Random, tool: Tool) -> list[Api]:
    if rng.random() < 0.4:
        return rng.sample(tool.apis, 2)
    return [rng.choice(tool.apis)]


def _search(rng: Random, tool: Tool, api: Api, name: str, facts: Facts) -> Call:
    thought = phrasing.thought_on_search(rng, api.thing, name)
    return Call(thought, api, {api.required[0].name: name}, {"name": name, SEARCH: facts.id_of(rng, tool.domain, name)})


def _ask(rng: Random, tool: Tool, api: Api, subject: str, key: str, facts: Facts) -> Call:
    asked = api.required[0].name
    response = {asked: key} | facts.report(rng, tool.domain, key, api.fact)
    return Call(phrasing.thought_on_fact(rng, api.fact, subject), api, {asked: key}, response)


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
