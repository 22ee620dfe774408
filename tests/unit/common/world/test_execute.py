"""Calls: every route to a fact tells the same, every call has its answer and status, whatever it is."""

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from common.toolbench.status import Status
from common.world.catalogue import Api
from common.world.entities import Fact
from common.world.execute import execute
from common.world.names import proper_names
from common.world.responses import FAILURES, UNIT
from common.world.settings import Difficulty
from common.world.tasks import Call
from common.world.world import World
from tests.unit.common.world.worlds import DIFFICULTIES, drawn

FINISHED = '{"return_type": "give_answer", "final_answer": "7"}'
NESTED = "[" * 100_000
BAD = (
    "", "{", "[]", "null", '"Kun"', NESTED, '{"a": ' + NESTED, "{}", '{"no such parameter": 1}', "9" * 5000, "{'a': 1}",
)  # fmt: skip


def recorded(difficulty: Difficulty) -> list[Call]:
    return [call for tasks in drawn(difficulty)[1].values() for task in tasks for call in task.calls]


def arguments(world: World, api: Api, name: str) -> Iterator[dict[str, Any]]:
    """Ways to ask about the thing with that name."""
    entity = world.table.find(api.thing, name)
    assert entity is not None
    given: dict[str, Any] = {api.subject: api.required[0].prefix + (entity.id if api.by_id else entity.name)}
    for parameter in api.required[1:]:
        kind, example = parameter.kind, parameter.example
        given[parameter.name] = example if kind == "STRING" else json.loads(example)
    yield given
    for unit in api.parameters[UNIT].choices if UNIT in api.parameters else ():
        yield given | {UNIT: unit}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_all_routes_to_a_fact_tell_what_the_table_holds(difficulty: Difficulty):
    world, _ = drawn(difficulty)
    routes: dict[Fact, set[str]] = defaultdict(set)
    apis = Random(0).sample(sorted(world.functions.values(), key=lambda api: api.function), 300)
    for api in apis:
        for name in proper_names()[::50]:
            for given in arguments(world, api, name):
                text, status, facts = execute(world, api.function, json.dumps(given))
                if status == Status.OK:
                    told = ast.literal_eval(json.loads(text)["response"])
                    assert list(told.values())[1:] == [world.table.value(fact) for fact in facts]
                    for fact in facts:
                        routes[fact].add(api.function)
                else:
                    assert (status, facts) == (api.status, ())
                    assert status in FAILURES
    assert max(map(len, routes.values())) >= 3


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_a_call_is_answered_alike_each_time_in_any_order(difficulty: Difficulty):
    world, _ = drawn(difficulty)
    calls = [(call.api.function, json.dumps(call.arguments)) for call in recorded(difficulty)]
    answers = {call: execute(world, *call) for call in calls}
    for call in Random(1).sample(calls, len(calls)):
        assert execute(world, *call) == answers[call]
    statuses = {response.status for response in answers.values()}
    assert statuses == ({Status.OK, *FAILURES} if difficulty == "full" else {Status.OK})


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("text", BAD)
def test_what_no_schema_allows_is_bad_input(difficulty: Difficulty, text: str):
    world, _ = drawn(difficulty)
    response = execute(world, recorded(difficulty)[0].api.function, text)
    assert (response.status, response.facts) == (Status.BAD_INPUT, ())
    assert len(response.text) < 300


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_each_argument_is_checked_against_its_parameter(difficulty: Difficulty):
    world, _ = drawn(difficulty)
    checked = set()
    for call in recorded(difficulty)[:1500]:
        spoiled: list[tuple[str, dict[str, Any]]] = [("unknown", call.arguments | {"colour_": "x"})]
        for name, parameter in call.api.parameters.items():
            spoiled += [("type", call.arguments | {name: wrong}) for wrong in (None, 1.5, [], {}, ["Kun"])]
            spoiled.append(("type", call.arguments | {name: 5 if parameter.kind != "NUMBER" else "5"}))
            spoiled.append(("type", call.arguments | {name: True if parameter.kind != "BOOLEAN" else 1}))
            if parameter.choices:
                spoiled.append(("choice", call.arguments | {name: "furlongs"}))
            if parameter.prefix:
                spoiled.append(("prefix", call.arguments | {name: str(call.arguments[name])[1:]}))
        for name in call.api.required_names:
            spoiled.append(("missing", {key: value for key, value in call.arguments.items() if key != name}))
        for kind, given in spoiled:
            assert execute(world, call.api.function, json.dumps(given)).status == Status.BAD_INPUT, (call.api, given)
            checked.add(kind)
    assert checked == {"unknown", "type", "missing"} | ({"choice", "prefix"} if difficulty == "full" else set())


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_unknown_things_and_the_other_kind_of_handle_are_not_found(difficulty: Difficulty):
    world, _ = drawn(difficulty)
    for call in recorded(difficulty)[:300]:
        if call.api.status in FAILURES:
            continue
        prefix = call.api.required[0].prefix
        entity = world.table.find(call.api.thing, str(call.arguments[call.api.subject]).removeprefix(prefix))
        assert entity is not None
        for key in ("Z99", "", "\ud800", "x" * 10_000_000 if call is recorded(difficulty)[0] else "kun",
                    entity.name if call.api.by_id else entity.id):  # fmt: skip
            response = execute(world, call.api.function, json.dumps(call.arguments | {call.api.subject: prefix + key}))
            assert (response.status, response.facts) == (Status.NOT_FOUND, ())
            assert len(response.text) < 400


@pytest.mark.parametrize("name", ["get_nothing_for_none", "", "finish", "x" * 10_000_000, "Finish "])
def test_unknown_functions_do_not_exist(name: str):
    response = execute(drawn("named")[0], name, FINISHED)
    assert response.status == Status.NO_SUCH_FUNCTION
    assert len(response.text) < 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (FINISHED, Status.FINISHED),
        ('{"return_type": "give_up_and_restart"}', Status.GAVE_UP),
        ('{"return_type": "give_answer"}', Status.BAD_INPUT),
        ('{"return_type": "give_answer", "final_answer": 7}', Status.BAD_INPUT),
        ('{"return_type": "other", "final_answer": "7"}', Status.BAD_INPUT),
        ('{"final_answer": "7"}', Status.BAD_INPUT),
        *((text, Status.BAD_INPUT) for text in BAD),
    ],
)
def test_finish_ends_or_is_bad_input(text: str, status: Status):
    assert execute(drawn("named")[0], "Finish", text).status == status
