"""Every mistake is named with its place and a remedy; good data pass; what is said stays short."""

import ast
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from common.toolbench.convert import convert
from common.toolbench.rows import ROW_SCHEMA
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.__main__ import main
from eval.check_data.check import check
from eval.check_data.hints import HINTS, RULES
from eval.check_data.report import lines
from tests.unit.test_import_rules import ROOT

TOOL = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    },
}


def chat(name: str = "price", arguments: str = '{"id": "7"}', **changes: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [
        {"role": "user", "content": "What does it cost?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "12"},
        {"role": "assistant", "content": "It costs 12."},
    ]
    return {"messages": messages, "tools": [TOOL]} | changes


def write(folder: Path, *records: Any) -> Path:
    path = folder / "traces.jsonl"
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in records))
    return path


def said(path: Path, most: int = 3) -> str:
    return "\n".join(lines(check(str(path), most)))


def test_good_data_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check-data", str(write(tmp_path, chat(), chat(arguments='{"id": "8"}')))]) == 0
    out = capsys.readouterr().out
    assert "4 rows of 2 conversations, 4 with a recorded completion" in out
    assert "nothing is wrong" in out


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        (chat(name="weight"), "unknown_function", "it calls 'weight', which isn't among the 2 on offer"),
        (chat(arguments="{}"), "argument_missing", "the call of 'price' lacks a required argument"),
        (chat(arguments="[1]"), None, ""),
        (chat(tools=None), "no_tools", "messages[1]"),
        ({"messages": "hello"}, "wrong_type", "the field 'messages' holds a string, expected a list"),
        (chat(messages=[{"role": "user", "content": "hi"}]), "no_target", "no turn of the assistant's"),
        (chat(messages=[{"role": "human", "content": "hi"}]), "unknown_role", "got the role 'human'"),
        ({"messages": [{"role": "user"}]}, "missing_field", "'messages[0].content'"),
        ('{"messages": [', "rest_lost", "broken JSON"),
        ('{"messages": NaN}', "not_a_number", "holds NaN"),
    ],
)
def test_each_mistake_is_named_with_its_place_and_a_remedy(tmp_path: Path, record: Any, kind: str | None, message: str):
    path = write(tmp_path, chat(), record)
    findings = check(str(path), 3)
    assert sum(findings.wrong.values()) == 1
    [got] = findings.wrong
    assert kind in (got, None)
    text = said(path)
    assert message in text
    assert f"mend: {HINTS[got]}" in text
    assert "row 2: " in text or "traces/2/1: " in text


def test_the_command_ends_with_1_where_anything_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check-data", str(write(tmp_path, chat(), chat(name="weight")))]) == 1
    assert "wrong: 1, of 1 kind" in capsys.readouterr().out


def test_many_mistakes_and_long_ones_give_a_short_report(tmp_path: Path):
    evil = "\u202e\x1b[2J" + "x" * 100_000
    path = write(tmp_path, *[chat(name="weight", arguments=json.dumps({"id": n})) for n in range(300)], {evil: 1})
    text = said(path, most=2)
    assert "unknown_function: 300" in text
    assert text.count("it calls 'weight'") == 2
    assert len(text) < 4_000
    assert not set(text) & set("\u202e\x1b")


def test_what_is_left_out_by_rule_is_told_and_no_mistake(tmp_path: Path):
    path = write(tmp_path, chat(), chat())
    findings = check(str(path), 3)
    assert (findings.wrong, dict(findings.left_out)) == ({}, {"repeated": 1})
    assert "left out by rule, which is no mistake: 1" in said(path)


def test_a_source_without_any_row_is_wrong(tmp_path: Path):
    tree = {"win": False, "answer_generation": {"valid_data": False}}
    (tmp_path / "1_tree.json").write_text(json.dumps(tree))
    findings = check(str(tmp_path / "1_tree.json"), 3)
    assert (dict(findings.wrong), dict(findings.left_out)) == ({"no_row": 1}, {"not_valid": 1})


@pytest.mark.parametrize(("name", "rows"), [("train.json", 6), ("queries_train.json", 2)])
def test_a_generated_world_passes(tmp_path: Path, name: str, rows: int):
    settings = WorldSettings(train_tasks=3, query_tasks=2, evaluation_tasks=1, corpus_documents=0)
    build_world(settings, tmp_path)
    findings = check(str(tmp_path / name), 3)
    assert (dict(findings.wrong), findings.rows >= rows) == ({}, True)
    assert findings.completions == (findings.rows if name == "train.json" else 0)


def test_files_that_are_no_data_are_named(tmp_path: Path):
    (tmp_path / "notes.json").write_text('{"a": 1}')
    assert "holds neither conversations" in said(tmp_path / "notes.json")
    with pytest.raises(UserError, match=r"there is nothing at .*nowhere"):
        check(str(tmp_path / "nowhere"), 3)


def test_converted_rows_are_checked_row_by_row(tmp_path: Path):
    rows = tmp_path / "rows"
    convert(write(tmp_path, chat(), chat(arguments='{"id": "8"}')), rows)
    assert check(str(rows), 3).wrong == {}
    [file] = rows.glob("*.parquet")
    values = pq.read_table(file).to_pylist()
    values[1]["turns"][1]["role"] = "human"
    values[2]["id"] = values[0]["id"]
    values[3]["completion"] = "I would rather talk."
    pq.write_table(pa.Table.from_pylist(values, ROW_SCHEMA), file)
    findings = check(str(rows), 3)
    assert dict(findings.wrong) == {"bad_row": 1, "duplicate_row_id": 1, "no_action": 1}
    text = said(rows)
    assert f"{file}, row 2: got the role 'human'" in text
    assert f"{file}, row 4: got 'I would rather talk.'" in text
    assert check(str(file), 3).wrong == findings.wrong


def test_a_damaged_parquet_file_is_named(tmp_path: Path):
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1")
    assert "unreadable_source: 1" in said(tmp_path)


def reasons(calls: set[str]) -> set[str]:
    """Constants that readers give to the functions `calls` as their first argument."""
    found = set()
    for path in (ROOT / "common/toolbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Constant):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                found |= {node.args[0].value} if name in calls else set()
    return found


def test_every_reason_of_a_reader_has_a_remedy():
    assert len(reasons({"BadRecord"})) > 20
    assert reasons({"BadRecord"}) <= HINTS.keys()
    assert reasons({"leave_out"}) <= RULES.keys()


def test_real_data_are_read(shared_data: Path):
    findings = check(str(shared_data / "ToolBench/data_example/answer"), 1)
    assert (findings.rows, findings.traces, dict(findings.wrong)) == (23, 6, {})
    assert dict(findings.left_out) == {"not_valid": 1, "give_up": 3}
