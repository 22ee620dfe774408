"""Rows as TxAgent's samples, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.__main__ import main
from common.toolbench.convert import convert
from common.toolbench.fields import BadRecord
from common.toolbench.finish import finish_with
from common.toolbench.functions import required_parameters
from common.toolbench.react import parse_step, render_step
from common.toolbench.rows import PromptRow, Turn, read_rows, write_rows
from common.toolbench.system_prompt import chat_system_prompt, offered_functions
from common.toolbench.txagent import to_txagent
from tests.unit.common.toolbench.records import FUNCTION

SYSTEM = Turn("system", chat_system_prompt("Be brief.", [FUNCTION]))
STEP = '\nThought: go\nAction: look_for_a\nAction Input: {"a": "é"}'
HISTORY = (SYSTEM, Turn("user", "\nq\nBegin!\n"), Turn("assistant", STEP), Turn("function", "seen"))
ROW = PromptRow("t/2", "q", HISTORY, render_step(finish_with("so", "done")), "t", 2, "g")


def test_a_row_is_a_sample_whose_target_has_no_call_id():
    sample = to_txagent(ROW)
    call = {"name": "look_for_a", "arguments": {"a": "é"}}
    assert sample["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": f"go[TOOL_CALLS]{json.dumps([call | {'call_id': 'call00000'}], ensure_ascii=False)}",
            "weight": 0,
        },
        {"role": "tool", "content": '{"content": "seen", "call_id": "call00000"}'},
        {"role": "assistant", "content": 'done\n\n[FinalAnswer] so[TOOL_CALLS][{"name": "Finish", "arguments": {}}]'},
    ]
    assert [tool["name"] for tool in sample["tools"]] == ["look_for_a", "Finish"]
    target = to_txagent(replace(ROW, completion=f"<think>\nhm\n</think>\n\n{STEP.lstrip()}"))["messages"][-1]
    assert target["content"] == f"<think>\nhm\n</think>\n\ngo[TOOL_CALLS]{json.dumps([call], ensure_ascii=False)}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (replace(ROW, completion=None), "nothing_recorded"),
        (replace(ROW, turns=(Turn("user", "q"),)), "no_functions"),
        (replace(ROW, completion=STEP.replace("}", "")), "bad_arguments"),
        (replace(ROW, completion=STEP.replace("go", "[TOOL_CALLS]")), "holds_a_mark"),
        (replace(ROW, completion=render_step(finish_with("[FinalAnswer]"))), "holds_a_mark"),
        (replace(ROW, completion=ROW.completion.replace("give_answer", "give_up_and_restart")), "gives_up"),
    ],
)
def test_rows_without_a_form_are_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: PromptRow, reason: str
):
    with pytest.raises(BadRecord) as error:
        to_txagent(row)
    assert error.value.reason == reason
    write_rows(tmp_path / "rows", [ROW, row])
    assert main(["export-txagent", str(tmp_path / "rows"), str(tmp_path / "out.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 1, "left_out": {reason: 1}}
    write_rows(tmp_path / "none", [row])
    with pytest.raises(UserError, match=f"no row that TxAgent's form can hold; left out: .*{reason}"):
        main(["export-txagent", str(tmp_path / "none"), str(tmp_path / "none.jsonl")])
    assert not (tmp_path / "none.jsonl").exists()


def test_what_is_there_stays_and_what_cannot_be_written_is_named(tmp_path: Path):
    write_rows(tmp_path / "rows", [ROW])
    (tmp_path / "out").write_text("mine")
    for out, message in (("out", "is there already"), ("out/x.jsonl", "can't write .*File exists")):
        with pytest.raises(UserError, match=message):
            main(["export-txagent", str(tmp_path / "rows"), str(tmp_path / out)])
    assert (tmp_path / "out").read_text() == "mine"


def test_real_rows_come_back_as_they_were(tmp_path: Path, shared_data: Path):
    convert(shared_data / "ToolBench/data_example/answer", tmp_path / "rows")
    rows = list(read_rows(tmp_path / "rows"))
    main(["export-txagent", str(tmp_path / "rows"), str(tmp_path / "trace.jsonl")])
    convert(tmp_path / "trace.jsonl", tmp_path / "back")
    back = list(read_rows(tmp_path / "back"))
    assert len(back) == len(rows) > 20
    for before, after in zip(rows, back, strict=True):
        assert said(after) == said(before)
        assert [turn.role for turn in after.turns] == [turn.role for turn in before.turns]
        assert [turn for turn in after.turns if turn.role == "function"] == [
            turn for turn in before.turns if turn.role == "function"
        ]


def said(row: PromptRow) -> tuple[Any, ...]:
    """What a row offers and answers, less white space and the order of its words for that."""
    step = parse_step(row.completion or "")
    offered = {each["name"]: required_parameters(each) for each in offered_functions(row.turns[0].content)}
    return offered, step.thought.strip(), step.action, json.loads(step.action_input, strict=False)
