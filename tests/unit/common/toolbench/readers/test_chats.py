"""Chats of every form people have: a row for each turn of the assistant's, and what gives none by name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from common.quality.completions import check_completion
from common.toolbench.convert import convert
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import parse_step
from common.toolbench.readers.chats import read_chats
from common.toolbench.rows import PromptRow, read_rows
from common.toolbench.system_prompt import offered_functions
from tests.unit.common.toolbench.records import FUNCTION, Record, quarantine, skipped, source

TOOLS = [{"type": "function", "function": FUNCTION}]
ASK = {"role": "user", "content": "q"}
DONE = {"role": "assistant", "content": "It is so."}


def call(*ids: str, **changes: Any) -> Record:
    function = {"name": "look_for_a", "arguments": '{"a": 1}'}
    return {"role": "assistant", "tool_calls": [{"id": id, "function": function} for id in ids]} | changes


def result(id: str) -> Record:
    return {"role": "tool", "tool_call_id": id, "content": f"seen {id}"}


def chat(*messages: Record, **changes: Any) -> Record:
    return {"messages": [ASK, *messages], "tools": TOOLS} | changes


def read(folder: Path, *records: Any, skip_bad: bool = False) -> tuple[list[PromptRow], Quarantine]:
    aside = quarantine(folder, skip_bad)
    return list(read_chats(source(folder / "chats.json", list(records)), aside)), aside


def test_every_turn_of_the_assistants_is_a_row_that_passes_the_checks(tmp_path: Path):
    record = chat(call("a", "b", content="both"), result("b"), result("a"), DONE, ASK | {"content": "why?"}, DONE)
    rows, aside = read(tmp_path, record, chat(DONE))
    assert [row.id for row in rows] == [f"chats/{trace}/{step}" for trace, step in
                                        [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]]  # fmt: skip
    assert [row.query for row in rows] == ["q", "q", "q", "why?", "q"]
    assert [len(row.turns) for row in rows] == [2, 4, 6, 8, 2]
    for row in rows:
        assert check_completion(row.completion or "", offered_functions(row.turns[0].content)).valid
    assert [parse_step(row.completion or "").thought for row in rows[:3]] == ["both", "", ""]
    assert aside.counts == {}


def test_reasoning_is_in_the_completion_and_in_no_prompt(tmp_path: Path):
    thought = DONE | {"reasoning_content": "hm"}
    rows, _ = read(tmp_path, chat(thought, ASK, thought))
    assert [(row.completion or "")[:14] for row in rows] == ["<think>\nhm\n</t"] * 2
    assert all("hm" not in turn.content for row in rows for turn in row.turns)


def test_samples_step_by_step_are_one_trace(tmp_path: Path):
    spoken = [call("a"), result("a"), DONE]
    steps = [chat(*spoken[:1]), chat(*spoken), chat(*spoken), chat(DONE)]
    rows, aside = read(tmp_path, *steps)
    assert [row.id for row in rows] == ["chats/1/1", "chats/1/2", "chats/2/1"]
    assert dict(aside.counts) == {"repeated": 1}


@pytest.mark.parametrize(
    ("record", "counts", "left"),
    [
        (chat(call("a", weight=0), result("a"), DONE | {"weight": 1}), {"weight_zero": 1}, 1),
        (chat(call("a", "b", "c")), {"no_observation": 2}, 1),
        (chat({"role": "assistant", "content": ""}, ASK, DONE), {"no_text": 1}, 1),
        ({"messages": [DONE | {"content": " "}, ASK, DONE]}, {"no_text": 1}, 1),
        (chat(DONE) | {"messages": [DONE, ASK, DONE]}, {"no_question": 1}, 1),
    ],
)
def test_turns_that_teach_nothing_are_left_out_by_name(
    tmp_path: Path, record: Record, counts: dict[str, int], left: int
):
    rows, aside = read(tmp_path, record)
    assert (len(rows), dict(aside.counts)) == (left, counts)


@pytest.mark.parametrize("field", ["tools", "functions"])
def test_without_tools_a_chat_is_plain_turns(tmp_path: Path, field: str):
    [row], _ = read(tmp_path, {"messages": [ASK, DONE], field: []})
    assert ([turn.content for turn in row.turns], row.completion, row.query) == (["q"], "It is so.", "q")


DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (1, "wrong_type"),
        ({"messages": "hello"}, "wrong_type"),
        ({"messages": []}, "wrong_type"),
        (chat(), "no_target"),
        (chat() | {"messages": [{"role": "system", "content": "s"}]}, "no_target"),
        (chat({"role": "gpt", "content": ""}), "unknown_role"),
        (chat(call("a"), DONE), "no_observation"),
        (chat(call("a"), result("b"), DONE), "unknown_call"),
        (chat(call("a"), result("a"), result("a"), DONE), "duplicate_result"),
        (chat(call("a", "a")), "duplicate_call"),
        (
            chat({"role": "assistant", "function_call": {"name": "look_for_a", "arguments": {"a": "\ud83d"}}}),
            "bad_text",
        ),
        (chat(call("a"), tools=None), "no_tools"),
        (chat(DONE, tools="{"), "broken_json"),
        (chat(DONE, tools=[{"name": "f", "parameters": {"required": 1}}]), "wrong_type"),
        (chat({"role": "user", "content": [{"type": "input_audio"}]}, DONE), "not_text"),
        (chat(DONE, tools=[FUNCTION | {"extra": DEEP}]), "unreadable_apis"),
    ],
)
def test_a_chat_in_error_is_refused_or_skipped_alone(tmp_path: Path, record: Any, reason: str):
    with pytest.raises(UserError, match=r"chats\.json, row 2: .*--skip-bad"):
        read(tmp_path, chat(DONE), record, chat(DONE))
    rows, aside = read(tmp_path, chat(DONE), record, chat(ASK, DONE), skip_bad=True)
    assert (len(rows), dict(aside.counts)) == (2, {reason: 1})
    assert skipped(tmp_path)[-1]["reason"] == reason


@pytest.mark.parametrize("form", ["lines", "parquet", "packed"])
def test_files_and_data_sets_give_the_same_rows(tmp_path: Path, form: str):
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tools = [TOOLS[0] | {"function": FUNCTION | {"parameters": parameters}}]
    records = [chat(call("a", content="I look"), result("a"), DONE, tools=tools), chat(DONE, tools=tools)]
    (tmp_path / "in").mkdir()
    plain = tmp_path / "train.jsonl"
    plain.write_text("\n".join(map(json.dumps, records)))
    convert(plain, tmp_path / "plain")
    if form == "packed":
        records = [{key: json.dumps(value) for key, value in record.items()} for record in records]
    if form == "lines":
        (tmp_path / "in/train.jsonl").write_text("\n".join(map(json.dumps, records)))
    else:
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "in/train.parquet")
    convert(f"hf:{tmp_path / 'in'}", tmp_path / "out")
    assert list(read_rows(tmp_path / "out")) == list(read_rows(tmp_path / "plain"))
