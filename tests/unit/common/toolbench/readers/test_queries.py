"""The query reader: prompts of a first turn, from real and broken records."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.readers.queries import read_queries
from common.toolbench.system_prompt import FINISH, offered_functions
from tests.unit.common.toolbench.records import quarantine, query_record, source


def test_a_record_becomes_the_prompt_of_its_first_turn(tmp_path: Path):
    [row] = read_queries(source(tmp_path / "G1_tool.json", [query_record(7)]), quarantine(tmp_path))
    assert (row.id, row.trace, row.step, row.query, row.completion) == ("G1_tool/7/1", "G1_tool/7", 1, "query 7", None)
    system, user = row.turns
    assert user.content == "\nquery 7\nBegin!\n"
    assert "\n1.a: None\n" in system.content
    assert [function["name"] for function in offered_functions(system.content)] == ["look_for_a", "Finish"]


def test_shapes_without_descriptions_are_left_out_by_name(tmp_path: Path):
    three_keys = {"category_name": "C", "tool_name": "A", "api_name": "Look"}
    records = [query_record(1, api_list=[three_keys]), {"query": "q", "query_id": 2}, query_record(3)]
    aside = quarantine(tmp_path)
    assert [row.step for row in read_queries(source(tmp_path / "q.json", records), aside)] == [1]
    assert dict(aside.counts) == {"apis_not_described": 1, "no_api_list": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (query_record(1), "the query_id 1 has been before"),
        (query_record(2, query=5), "'query' holds a whole number"),
        ({"api_list": [], "query": "q"}, "'query_id' is missing"),
        (query_record(2, api_list=[{"api_name": "x", "api_description": ""}]), "'api_list.tool_name' is missing"),
        ("text", "the record is a string, expected an object"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, record: Any, message: str):
    file = source(tmp_path / "q.json", [query_record(1), record])
    with pytest.raises(UserError, match=rf"q\.json, row 2: .*{message}"):
        list(read_queries(file, quarantine(tmp_path)))


def test_two_apis_of_one_name_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def api(tool: str, name: str) -> dict[str, Any]:
        return query_record(0)["api_list"][0] | {"tool_name": tool, "api_name": name}

    twins = [api("t" * 70, "one"), api("t" * 70, "two"), api("Other", "one"), api("Other", "one")]
    records = [query_record(1, api_list=twins), query_record(2, api_list=twins)]
    assert len(list(read_queries(source(tmp_path / "q.json", records), quarantine(tmp_path)))) == 2
    [line] = caplog.messages
    assert "row 1: 'one' of 'ttt" in line
    assert "and 'two' of 'ttt" in line
    assert line.endswith(f"are both offered as {'t' * 64}; a call names both")


def test_every_solvable_query_converts(shared_data: Path, tmp_path: Path):
    files = sorted((shared_data / "StableToolBench/solvable_queries/test_instruction").glob("*.json"))
    sources = [source(tmp_path / file.name, None) for file in files]
    for file, copy in zip(files, sources, strict=True):
        copy.path.write_bytes(file.read_bytes())
    rows = [row for copy in sources for row in read_queries(copy, quarantine(tmp_path))]
    assert len({row.id for row in rows}) == len(rows) == 641
    assert all(offered_functions(row.turns[0].content)[-1] == FINISH for row in rows)
