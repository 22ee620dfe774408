"""TxAgent's traces, as its agents record them and as they are trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.quality.completions import check_completion
from common.toolbench.finish import finish_with
from common.toolbench.react import Step, parse_step
from common.toolbench.readers.txagent import SPECIAL, special_tool
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FINISH, offered_functions
from tests.unit.common.toolbench.readers.test_chats import ASK, read
from tests.unit.common.toolbench.records import Record

LABEL = {
    "name": "get_label",
    "description": "The label of a drug",
    "parameter": {
        "type": "object",
        "properties": {
            "drug": {"type": "string", "description": "its name", "required": True},
            "limit": {"type": "integer", "required": False},
        },
    },
}
SCHEMA = {
    "name": "get_label",
    "description": "The label of a drug",
    "parameters": {
        "type": "object",
        "properties": {"drug": {"type": "string", "description": "its name"}, "limit": {"type": "integer"}},
        "required": ["drug"],
    },
}
END = {"name": "Finish", "description": "End", "parameter": {"type": "object", "properties": {}}}


def said(text: str, *calls: Record, **others: Any) -> Record:
    return {"role": "assistant", "content": f"{text}[TOOL_CALLS]{json.dumps(calls)}"} | others


def recorded(text: str, *calls: Record) -> Record:
    return {"role": "assistant", "content": text, "tool_calls": json.dumps(calls)}


def result(content: Any, **id: str) -> Record:
    return {"role": "tool", "content": json.dumps({"content": content} | id)}


LOOK = {"name": "get_label", "arguments": {"drug": "A"}}
FIND = {"name": "Tool_RAG", "arguments": {"description": "labels", "limit": 2}}
FINISH_CALL = {"name": "Finish", "arguments": {}}


@pytest.mark.parametrize(
    "spoken",
    [
        [said("Find, look.", FIND, LOOK), result(["t"]), result("a label"), said("So.\n[FinalAnswer] B", FINISH_CALL)],
        [
            recorded("Find, look.", FIND | {"call_id": "x"}, LOOK | {"call_id": "y"}),
            result("a label", call_id="y"),
            result(["t"], call_id="x"),
            said("So.\n\n[FinalAnswer]B", FINISH_CALL),
        ],
        [said("Find, look.", FIND, LOOK), result(["t"], call_id="x"), result("a label", call_id="y"),
         {"role": "assistant", "content": "So.[FinalAnswer] B"}],
    ],
)  # fmt: skip
def test_a_trace_is_steps_of_toolbench(tmp_path: Path, spoken: list[Record]):
    rows, _ = read(tmp_path, {"messages": [ASK, *spoken], "tools": [LABEL, END]})
    last = rows[-1]
    assert offered_functions(last.turns[0].content) == [SCHEMA, special_tool("Tool_RAG"), FINISH]
    steps = [parse_step(row.completion or "") for row in rows]
    assert steps == [
        Step("Find, look.", "Tool_RAG", json.dumps(FIND["arguments"])),
        Step("", "get_label", json.dumps(LOOK["arguments"])),
        finish_with("B", "So."),
    ]
    assert [turn for turn in last.turns if turn.role == "function"] == [
        Turn("function", '["t"]'),
        Turn("function", "a label"),
    ]
    assert "call_id" not in str(rows)


@pytest.mark.parametrize("name", SPECIAL)
def test_special_tools_are_offered_when_they_are_called(tmp_path: Path, name: str):
    arguments = dict.fromkeys(SPECIAL[name][1], "x")
    [row], _ = read(tmp_path, {"messages": [ASK, said("", {"name": name, "arguments": arguments})], "tools": [LABEL]})
    assert check_completion(row.completion or "", offered_functions(row.turns[0].content)).valid


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (said("a", "b"), r"messages\[1\].tool_calls\[0\] is a string, expected an object"),
        (said("a", {"arguments": {}}), r"messages\[1\].tool_calls\[0\].name' is missing"),
        (said("a", {"name": "get_label"}), r"messages\[1\].tool_calls\[0\].function.arguments' is missing"),
        ({"role": "assistant", "content": "a[TOOL_CALLS][{"}, r"messages\[1\] has no list of calls as JSON behind"),
        (said("a", LOOK, FINISH_CALL), r"messages\[1\] calls other functions beside Finish"),
        (recorded("a") | {"content": 1}, r"messages\[1\].content' holds a whole number"),
    ],
)
def test_wrong_steps_are_named(tmp_path: Path, step: Record, message: str):
    with pytest.raises(UserError, match=message):
        read(tmp_path, {"messages": [ASK, step], "tools": [LABEL]})
