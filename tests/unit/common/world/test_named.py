"""Tasks of the world: solvable from what is shown, and not by guessing."""

import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.world.entities import ID
from common.world.named.facts import Inventions
from common.world.named.tasks import draw_task
from common.world.named.tools import build_catalogue
from common.world.settings import WorldSettings
from common.world.tasks import Task
from common.world.traces import conversations, query_record

TOOLS = build_catalogue(WorldSettings()).train


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    rng = Random(5)
    return [draw_task(rng, TOOLS, Inventions()) for _ in range(300)]


def test_a_solution_takes_one_to_three_calls_of_apis_on_offer(tasks: list[Task]) -> None:
    assert {len(task.calls) for task in tasks} == {1, 2, 3}
    for task in tasks:
        assert 2 <= len(task.apis) <= 4
        assert len({api.function for api in task.apis}) == len(task.apis)
        assert {call.api for call in task.calls} < set(task.apis)


def test_every_argument_is_copied_from_the_query_or_an_earlier_response(tasks: list[Task]) -> None:
    for task in tasks:
        known = task.query
        for call in task.calls:
            required = {parameter.name for parameter in call.api.required}
            allowed = required | {parameter.name for parameter in call.api.optional}
            assert required <= set(call.arguments) <= allowed
            assert all(str(value) in known for value in call.arguments.values())
            known += str(call.response)


def test_the_answer_holds_what_the_calls_found(tasks: list[Task]) -> None:
    for task in tasks:
        asked = [call for call in task.calls if call.api.attribute != ID]
        assert all(call.api.attribute.name in task.query for call in asked)
        assert all(str(call.response[call.api.attribute.name]) in task.answer for call in asked)


def test_one_api_alone_answers_a_fact(tasks: list[Task]) -> None:
    for task in tasks:
        for call in task.calls:
            assert sum(api.attribute.name == call.api.attribute.name for api in task.apis) == 1


def test_the_right_api_stands_at_any_place_of_the_list(tasks: list[Task]) -> None:
    places = [task.apis.index(task.calls[0].api) for task in tasks]
    assert max(map(places.count, range(4))) < 0.5 * len(tasks)


def test_each_record_shows_one_step_more(tasks: list[Task]) -> None:
    task = max(tasks, key=lambda task: len(task.calls))
    records = conversations(task)
    roles = [[turn["from"] for turn in record["conversations"]] for record in records]
    assert roles[-1] == ["system", "user", *["assistant", "function"] * 3, "assistant"]
    assert all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(roles))
    assert [record["id"] for record in records] == [f"Step {n}: {task.query}" for n in (1, 2, 3, 4)]
    assert records[-1]["conversations"][-1]["value"].startswith("\nThought: ")
    assert "\nAction: Finish\nAction Input: " in records[-1]["conversations"][-1]["value"]


def test_a_query_record_has_toolbenchs_fields(tasks: list[Task]) -> None:
    record = json.loads(json.dumps(query_record(tasks[0], 7)))
    assert set(record) == {"api_list", "query", "relevant APIs", "query_id"}
    assert set(record["api_list"][0]) == {
        "category_name", "tool_name", "api_name", "api_description", "required_parameters", "optional_parameters",
        "method",
    }  # fmt: skip
    offered = [[api["tool_name"], api["api_name"]] for api in record["api_list"]]
    assert all(pair in offered for pair in record["relevant APIs"])


def test_traces_and_queries_have_one_form_of_prompt(tasks: list[Task], tmp_path: Path) -> None:
    (tmp_path / "traces.json").write_text(json.dumps(conversations(tasks[0])))
    (tmp_path / "queries.json").write_text(json.dumps([query_record(tasks[0], 7)]))
    for name in ("traces", "queries"):
        convert(tmp_path / f"{name}.json", tmp_path / name)
    recorded, asked = (next(read_rows(tmp_path / name)) for name in ("traces", "queries"))
    assert recorded.turns == asked.turns
    assert asked.completion is None


def test_thoughts_are_worded_in_several_ways_of_unequal_weight(tasks: list[Task]) -> None:
    endings = [task.closing_thought for task in tasks]
    counts = sorted(map(endings.count, set(endings)))
    assert len(counts) == 4
    assert counts[-1] > 2 * counts[0]
