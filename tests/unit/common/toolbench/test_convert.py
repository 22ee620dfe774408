"""The converter: kinds told apart by content, one JSON line at the end, and memory that doesn't grow with the file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.__main__ import main
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from tests.unit.common.toolbench.records import PROMPT, call, conversation, query_record, skipped, tree

FINISH = call("Finish", '{"return_type": "give_answer", "final_answer": "x"}', "done")


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_command_ends_with_one_json_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad = {"id": "Step 2: x", "conversations": [{"from": "gpt", "value": ""}]}
    records = [*conversation("a", 2), bad, *conversation("b", 1)]
    file = write(tmp_path / "toolllama_eval.json", records)
    assert main(["convert", str(file), str(tmp_path / "out"), "--skip-bad"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"rows": 3, "traces": 2, "with_thought": 3, "skipped": {"unknown_role": 1}}
    assert "3 rows" in shown.err
    assert [row.group for row in read_rows(tmp_path / "out")] == ["toolllama_eval"] * 3
    assert skipped(tmp_path / "out")[0]["record"] == bad


def test_trees_of_nested_folders(tmp_path: Path):
    write(tmp_path / "in/G1/1.json", tree(call(), {"role": "function", "content": "s"}, FINISH))
    write(tmp_path / "in/G2/1.json", tree(FINISH))
    write(tmp_path / "in/G2/2.json", tree(FINISH, valid=False))
    summary = convert(tmp_path / "in", tmp_path / "out")
    assert summary.as_dict() == {"rows": 3, "traces": 2, "with_thought": 2, "skipped": {"not_valid": 1}}
    assert [(row.id, row.group) for row in read_rows(tmp_path / "out")] == [
        ("G1/1/1", "G1"), ("G1/1/2", "G1"), ("G2/1/1", "G2"),
    ]  # fmt: skip


def test_a_folder_of_queries_labelled_by_name(tmp_path: Path):
    write(tmp_path / "in/G1_tool.json", [query_record(2), query_record(1)])
    write(tmp_path / "in/G1_category.json", [query_record(1)])
    convert(tmp_path / "in", tmp_path / "out")
    expected = [("G1_category/1/1", "G1_category"), ("G1_tool/2/1", "G1_tool"), ("G1_tool/1/1", "G1_tool")]
    assert [(row.id, row.group) for row in read_rows(tmp_path / "out")] == expected
    convert(tmp_path / "in", tmp_path / "named", split_name="test")
    assert {row.group for row in read_rows(tmp_path / "named")} == {"test"}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("records", [conversation("ä", 2), [query_record(1), query_record(2)], [tree(FINISH)]])
def test_kinds_are_told_in_every_layout_and_encoding(tmp_path: Path, records: list[Any], encoding: str, suffix: str):
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    text = lines if suffix == "jsonl" or "win" in records[0] else json.dumps(records)
    (tmp_path / "in").mkdir()
    (tmp_path / f"in/a.{suffix}").write_bytes(text.encode(encoding))
    assert convert(tmp_path / "in", tmp_path / "out").rows == len(records)


def test_a_broken_first_record_hides_no_kind(tmp_path: Path):
    file = write(tmp_path / "a.json", [{"score": float("nan")} | conversation("a", 1)[0], *conversation("b", 2)])
    assert convert(file, tmp_path / "out", skip_bad=True).as_dict()["skipped"] == {"not_a_number": 1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.json": [query_record(1)], "b.json": tree(FINISH)}, r"mixes kinds: .*a\.json \(queries\), .*\(trees\)"),
        ({"a.json": {"588": 0}}, r"a\.json holds neither conversations, messages, queries nor"),
        ({"a.json": []}, r"a\.json holds neither"),
        ({}, "no readable JSON at"),
        ({"a.json": [query_record(1)], "a.jsonl": query_record(2)}, "2 files named a, whose rows would share ids"),
        ({"a.json": float("nan")}, r"no readable JSON at .*a\.json: the record holds NaN, which isn't JSON"),
        ({"a.json": tree(FINISH, valid=False)}, r"gave no row; left out: \{'not_valid': 1\}"),
        ({"a.json": [{"conversations": []}]}, r"a\.json, row 1: the field 'id' is missing; .*--skip-bad"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_leaves_nothing_behind(tmp_path: Path, files: dict[str, Any], message: str):
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        write(tmp_path / "in" / name, content)
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_missing_source_and_a_full_folder_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"can't read .*none\.json: No such file"):
        convert(tmp_path / "none.json", tmp_path / "out")
    file = write(tmp_path / "in.json", conversation("a", 1))
    with pytest.raises(UserError, match="exists and isn't an empty folder"):
        convert(file, tmp_path)


MEASURE = """
import resource, sys
from pathlib import Path
from common.toolbench.convert import convert
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
convert(Path(sys.argv[1]), Path(sys.argv[3]))
before = peak()
convert(Path(sys.argv[2]), Path(sys.argv[4]))
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    warm = write(tmp_path / "warm.json", conversation("a", 3))
    large = tmp_path / "large.json"
    record = json.dumps(conversation("a", 2, system="x" * 9_000 + PROMPT)[1])
    with large.open("w") as file:
        file.write("[" + ",\n".join(record.replace("a", f"{n}a", 1) for n in range(6_500)) + "]")
    assert large.stat().st_size > 60_000_000
    arguments = [str(warm), str(large), str(tmp_path / "out1"), str(tmp_path / "out2")]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(measured.stdout) < 30, "MiB above the peak of a small file"
    assert sum(1 for _ in read_rows(tmp_path / "out2")) == 6_500


HELP = """
import runpy, sys
sys.argv = ["toolbench", "--help"]
try:
    runpy.run_module("common.toolbench", run_name="__main__")
except SystemExit:
    print(sorted({"torch", "ray", "vllm", "transformers", "pyarrow"} & set(sys.modules)))
"""


def test_help_loads_nothing_heavy():
    shown = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_giving_up_is_kept_by_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "1.json", tree(call("Finish", '{"return_type": "give_up_and_restart"}')))
    assert main(["convert", str(file), str(tmp_path / "out"), "--give-up", "keep"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
