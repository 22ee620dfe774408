"""Data sets of each shape that ToolBench is published in, read, and rows written as one that `datasets` reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from common.toolbench.__main__ import main
from common.toolbench.convert import convert
from common.toolbench.readers.dataset_source import DatasetOptions
from common.toolbench.rows import read_rows, row_from_dict
from tests.unit.common.toolbench.records import Record, conversation, query_record, skipped

RECORDS = [*conversation("wie wärs?", 2), *conversation("b", 1)]


def write_parquet(path: Path, rows: list[Record]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))


def write_json(path: Path, rows: list[Record]) -> None:
    path.with_suffix(".json").write_text(json.dumps(rows))


def write_lines(path: Path, rows: list[Record]) -> None:
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))


def turns(record: Record, **names: str) -> list[Record]:
    return [{names[key]: turn[key] for key in ("from", "value")} for turn in record["conversations"]]


def two_lists(record: Record) -> Record:
    said = record["conversations"]
    return record | {"conversations": {key: [turn[key] for turn in said] for key in ("from", "value")}}


SHAPES: list[tuple[Callable[[Record], Record], dict[str, str]]] = [
    (lambda record: record, {}),
    (two_lists, {}),
    (lambda record: record | {"conversations": json.dumps(record["conversations"])}, {}),
    (lambda record: {"messages": turns(record, **{"from": "role"}, value="content")}, {"conversations": "messages"}),
    (
        lambda record: {"id": "x1", "chat": json.dumps(turns(record, **{"from": "who"}, value="said")), "score": 0.5},
        {"conversations": "chat", "from": "who", "value": "said"},
    ),
]


@pytest.mark.parametrize("write", [write_parquet, write_json, write_lines])
@pytest.mark.parametrize(("shape", "columns"), SHAPES)
def test_every_published_shape_gives_the_same_rows(tmp_path: Path, write: Any, shape: Any, columns: dict[str, str]):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/train", RECORDS)
    expected = list(read_rows_of(tmp_path / "in", tmp_path / "plain"))
    for file in (tmp_path / "in").iterdir():
        file.unlink()
    write(tmp_path / "in/train", [shape(record) for record in RECORDS])
    assert read_rows_of(tmp_path / "in", tmp_path / "out", DatasetOptions(columns=columns)) == expected
    assert [(row.id, row.group) for row in expected] == [
        ("train/1/1", "train"),
        ("train/1/2", "train"),
        ("train/2/1", "train"),
    ]


def read_rows_of(source: Path, out: Path, options: DatasetOptions | None = None) -> list[Any]:
    convert(f"hf:{source}", out, dataset=options)
    return list(read_rows(out))


def test_queries_with_their_apis_as_json(tmp_path: Path):
    rows = [query_record(n) | {"query_id": str(n), "api_list": json.dumps(query_record(n)["api_list"])} for n in (1, 2)]
    (tmp_path / "in").mkdir()
    write_parquet(tmp_path / "in/g1_tool-0", rows)
    split = "in:train"
    convert(f"hf:{tmp_path / split}", tmp_path / "out", split_name="G1")
    assert [(row.id, row.group) for row in read_rows(tmp_path / "out")] == [("train/1/1", "G1"), ("train/2/1", "G1")]


def test_rows_are_a_data_set_row_for_row(tmp_path: Path):
    (tmp_path / "in.json").write_text(json.dumps([{"id": "no"}, *RECORDS * 40]))
    convert(tmp_path / "in.json", tmp_path / "out", skip_bad=True)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert list(map(row_from_dict, loaded["train"])) == list(read_rows(tmp_path / "out"))
    assert str(tmp_path) not in (tmp_path / "out/README.md").read_text()
    with pytest.raises(UserError, match="holds rows that are converted already"):
        convert(f"hf:{tmp_path / 'out'}", tmp_path / "again")


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        ({"conversations": "[{"}, "broken_json", "the column for 'conversations' holds text that isn't JSON"),
        ({"conversations": json.dumps({"from": ["user"], "value": []})}, "wrong_type", r"have \[0, 1\] entries"),
        ({"conversations": json.dumps("text")}, "wrong_type", "'conversations' holds a string, expected a list"),
        ({"conversations": "[1]"}, "wrong_type", r"conversations\[0\] is a whole number"),
        ({"conversations": "null"}, "wrong_type", "'conversations' holds None"),
    ],
)
def test_a_bad_row_is_named_and_skipped(tmp_path: Path, rows: Record, reason: str, message: str):
    good = RECORDS[0] | {"conversations": json.dumps(RECORDS[0]["conversations"])}
    (tmp_path / "in").mkdir()
    write_lines(tmp_path / "in/train", [good, good | rows, good])
    with pytest.raises(UserError, match=rf"hf:.*in, row 2: .*{message}"):
        convert(f"hf:{tmp_path / 'in'}", tmp_path / "out")
    assert convert(f"hf:{tmp_path / 'in'}", tmp_path / "out", skip_bad=True).skipped == {reason: 1}
    assert skipped(tmp_path / "out")[0]["reason"] == reason


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("hf:in:valid", [], "got the split 'valid', expected one of train"),
        ("hf:in", ["--column", "conversations=b"], "has the columns a, expected conversations, messages, query"),
        ("hf:in", ["--column", "turns=a"], "got --column turns=a, expected FIELD=COLUMN with one of id, conversations"),
        ("hf:in", ["--subset", "x"], r"can't open the data set 'in' \(BuilderConfig 'x' not found"),
        ("hf:./none", [], r"can't open the data set './none' \(.*give a name on the hub or a folder"),
        ("in", ["--subset", "x"], "got --subset or --column with the files at in, expected a data set"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write_lines(tmp_path / "in/train", [{"a": 1}])
    with pytest.raises(UserError, match=message):
        main(["convert", source, "out", *options])
    assert not Path("out").exists()


def test_a_file_that_breaks_midway_says_so(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.jsonl").write_text(json.dumps(RECORDS[0]) + "\n" + '{"id": ')
    with pytest.raises(UserError, match=r"hf:.*in, after row \d: can't be read on \(.*mend the file"):
        convert(f"hf:{tmp_path / 'in'}", tmp_path / "out")
