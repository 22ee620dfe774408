"""Tasks drawn: a user's query, the APIs on offer, and the calls that solve it with what they return."""

from collections.abc import Sequence
from random import Random

from common.world import phrasing
from common.world.catalogue import Api, Tool
from common.world.entities import ID, Fact, Value
from common.world.named.facts import Facts
from common.world.tasks import Call, Task


def draw_task(rng: Random, tools: Sequence[Tool], facts: Facts) -> Task:
    """Draw a task on one of `tools`: one or two facts of a thing, found in one to three calls."""
    tool = rng.choice(tools)
    wanted = _wanted_apis(rng, tool)
    thing = tool.thing
    given_id = tool.search is not None and rng.random() < 0.4
    name, subject = facts.subject(rng, tool.thing, given_id)
    calls = [] if given_id or tool.search is None else [_search(rng, tool, tool.search, subject, facts)]
    key = str(calls[0].response[ID.name]) if calls else subject
    calls += [_ask(rng, tool, api, subject, key, facts) for api in wanted]
    told = [(call.api.attribute.name, call.response) for call in calls if call.api.attribute != ID]
    query = phrasing.ask(rng, [api.attribute.name for api in wanted], thing, subject)
    apis = _offer(rng, tool, [call.api for call in calls], tools)
    closing = phrasing.closing_thought(rng)
    answer = phrasing.answer(rng, subject, {fact: response[fact] for fact, response in told})
    return Task(
        query=query,
        asked=tuple(Fact(thing, name, api.attribute) for api in wanted),
        apis=apis,
        calls=tuple(calls),
        closing_thought=closing.text,
        answer=answer.text,
        closing_nats=closing.nats + answer.nats,
    )


def _wanted_apis(rng: Random, tool: Tool) -> list[Api]:
    if rng.random() < 0.4:
        return rng.sample(tool.apis, 2)
    return [rng.choice(tool.apis)]


def _search(rng: Random, tool: Tool, api: Api, name: str, facts: Facts) -> Call:
    thought = phrasing.thought_on_search(rng, api.thing, name)
    response: dict[str, Value] = {"name": name, ID.name: facts.id_of(rng, tool.thing, name)}
    return Call(thought.text, api, {api.required[0].name: name}, response, nats=thought.nats)


def _ask(rng: Random, tool: Tool, api: Api, subject: str, key: str, facts: Facts) -> Call:
    asked = api.required[0].name
    response = {asked: key} | facts.report(rng, tool.thing, key, api.attribute.name)
    thought = phrasing.thought_on_fact(rng, api.attribute.name, subject)
    return Call(thought.text, api, {asked: key}, response, nats=thought.nats)


def _offer(rng: Random, tool: Tool, called: list[Api], tools: Sequence[Tool]) -> tuple[Api, ...]:
    """Draw the 2-4 APIs on offer: those called and distractors, some of them from another tool of the category."""
    told = {api.attribute for api in called} | {ID}
    siblings = [each for each in tools if each.category == tool.category and each != tool]
    other = rng.choice(siblings) if siblings and rng.random() < 0.5 else None
    spare = [api for api in tool.all_apis if api not in called]
    foreign = [api for api in other.apis if api.attribute not in told] if other else []
    count = max(2, min(4, len(called) + rng.choice((1, 1, 2)))) - len(called)
    distractors = rng.sample(spare, min(count, len(spare)))
    if foreign and distractors:
        distractors[-1] = rng.choice(foreign)
    apis = [*called, *distractors]
    rng.shuffle(apis)
    return tuple(apis)
