"""Parquet rows: what is written is read back, in order, in small row groups."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from common.toolbench.rows import (
    ROW_SCHEMA,
    PromptRow,
    Turn,
    check_role,
    read_row_group,
    read_rows,
    row_from_dict,
    row_to_dict,
    shards,
    write_rows,
)

Numbered = Callable[[int], PromptRow]


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 13])
def test_round_trip_over_shards(tmp_path: Path, numbered_row: Numbered, count: int):
    rows = [numbered_row(n) for n in range(count)]
    assert write_rows(tmp_path / "out", iter(rows), rows_per_file=4, row_group=3) == count
    assert list(read_rows(tmp_path / "out")) == rows
    files = [pq.ParquetFile(path) for path in shards(tmp_path / "out")]
    assert [file.metadata.num_rows for file in files] == [min(4, count - start) for start in range(0, count, 4)]
    assert max(file.metadata.row_group(g).num_rows for file in files for g in range(file.num_row_groups)) <= 3


def test_a_row_without_completion_stays_so(tmp_path: Path):
    query = PromptRow("a/1", "q", (Turn("user", "q"),), None, "a", 1, "G1_tool")
    write_rows(tmp_path, [query])
    assert list(read_rows(tmp_path / "part-00000.parquet")) == [query]


def test_a_single_row_group_gives_rows(tmp_path: Path, numbered_row: Numbered):
    write_rows(tmp_path, map(numbered_row, range(5)), row_group=2)
    group = pq.ParquetFile(shards(tmp_path)[0]).read_row_group(1)
    assert [row_from_dict(values).id for values in group.to_pylist()] == ["trace-2/2", "trace-3/2"]


def test_two_datasets_never_mix(tmp_path: Path, row: PromptRow):
    write_rows(tmp_path, [row])
    with pytest.raises(UserError, match="already holds Parquet files"):
        write_rows(tmp_path, [row])


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_dataset_is_named_at_once(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "rows")
    with pytest.raises(UserError, match=r"no Parquet rows at .*rows; make them with"):
        read_rows(tmp_path / "rows")


def test_foreign_parquet_is_named(tmp_path: Path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="no column completion, group"):
        list(read_rows(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        list(read_rows(tmp_path))


def as_other_tools(kind: pa.DataType, string: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, as_other_tools(field.type, string)) for field in kind])
    if pa.types.is_list(kind):
        return pa.large_list(as_other_tools(kind.value_type, string))
    return string if pa.types.is_string(kind) else pa.int64()


@pytest.mark.parametrize("string", [pa.string(), pa.large_string()], ids=str)
def test_shards_of_other_tools_are_read_beside_ours(tmp_path: Path, numbered_row: Numbered, string: pa.DataType):
    rows = [numbered_row(n) for n in range(3)]
    write_rows(tmp_path, rows)
    table = pq.read_table(tmp_path).select(reversed(ROW_SCHEMA.names))
    schema = pa.schema([pa.field(field.name, as_other_tools(field.type, string)) for field in table.schema])
    pq.write_table(table.cast(schema), tmp_path / "part-1.parquet")
    assert list(read_rows(tmp_path)) == rows * 2
    assert all(read_row_group(file, 0).schema.equals(ROW_SCHEMA) for file in shards(tmp_path))


@pytest.mark.parametrize("changes", [{"turns": "text"}, {"id": None}, {"step": "first"}])
def test_columns_of_another_kind_are_named(tmp_path: Path, row: PromptRow, changes: dict[str, object]):
    pq.write_table(pa.Table.from_pylist([row_to_dict(row) | changes]), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet is not a readable Parquet file of rows"):
        list(read_rows(tmp_path))


def test_a_turn_without_text_is_named(row: PromptRow):
    turns = [{"role": "user", "content": None}]
    with pytest.raises(UserError, match="the row trace-0/2 has a turn without text"):
        row_from_dict(row_to_dict(row) | {"turns": turns})


@pytest.mark.parametrize("role", ["human", "gpt", "User", "", None])
def test_unknown_roles_raise(role: object):
    with pytest.raises(UserError, match="expected one of system, user, assistant, function"):
        check_role(role)


@pytest.mark.parametrize("role", ["system", "user", "assistant", "function"])
def test_toolbenchs_roles_pass(role: str):
    assert check_role(role) == role
