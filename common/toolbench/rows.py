"""Prompt rows: the one shape into which every ToolBench source is converted, and its Parquet shards.

A row is everything before one assistant turn, and that turn's recorded text if there is one. Shards hold small row
groups, so that a training stream can permute them and read one at a time.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import UserError

Role = Literal["system", "user", "assistant", "function"]
ROLES: tuple[str, ...] = get_args(Role)

ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("turns", pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})), nullable=False),
        pa.field("completion", pa.string()),
        pa.field("trace", pa.string(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Turn:
    """What one side said; `function` turns are observations."""

    role: Role
    content: str


@dataclass(frozen=True)
class PromptRow:
    """Everything before one assistant turn, and that turn."""

    id: str
    """Unique within a dataset."""
    query: str
    """What the user asked for, without the words around it."""
    turns: tuple[Turn, ...]
    """All turns before the completion, the system prompt first."""
    completion: str | None
    """The recorded turn, "\\nThought: …\\nAction: …\\nAction Input: …"; None where nothing was recorded."""
    trace: str
    """Id of the whole conversation."""
    step: int
    """Which of the conversation's assistant turns the completion is, from 1."""
    group: str
    """A free label, such as the split."""


def check_role(role: object) -> Role:
    """Return `role` if ToolBench knows it.

    Raises UserError otherwise: a turn under another name (`human`, `gpt`) must never be dropped silently.
    """
    if role not in ROLES:
        raise UserError(f"got the role {role!r}, expected one of {', '.join(ROLES)}; rename the roles in the source")
    return cast(Role, role)


def row_to_dict(row: PromptRow) -> dict[str, Any]:
    """The row as plain values, in the form of ROW_SCHEMA."""
    return asdict(row)


def row_from_dict(values: dict[str, Any]) -> PromptRow:
    """The row of one Parquet record, as `Table.to_pylist` gives it.

    Raises UserError for a turn of an unknown role or without text, which other tools may have written.
    """
    turns = tuple(Turn(check_role(turn["role"]), turn["content"]) for turn in values["turns"])
    if any(turn.content is None for turn in turns):
        raise UserError(f"the row {values['id']} has a turn without text, expected a string in each; mend its file")
    return PromptRow(**values | {"turns": turns})


def shards(path: str | Path) -> list[Path]:
    """The Parquet files of a dataset (a folder, or one file), in their order.

    Raises UserError when there are none.
    """
    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise UserError(f"no Parquet rows at {path}; make them with `python -m common.toolbench convert SOURCE {path}`")
    return files


def read_rows(path: str | Path) -> Iterator[PromptRow]:
    """All rows of a folder of shards or of one shard, a row group in memory at a time.

    Raises UserError, when called, if `path` is missing or empty; while reading, if a file isn't one of ours.
    """
    shards(path)
    return (row_from_dict(values) for _, values in read_values(path))


def read_values(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of `path` as plain values, each with where it stands, as "FILE, row 3"; raises as `read_rows`.

    `row_from_dict` makes a row of one, or says what is wrong with it.
    """
    for file in shards(path):
        number = 0
        for index in range(_row_groups(file)):
            for values in read_row_group(file, index).to_pylist():
                number += 1
                yield f"{file}, row {number}", values


def read_row_group(file: Path, index: int) -> pa.Table:
    """One row group of a shard in ROW_SCHEMA, whichever types of string, list and number another tool saved it with.

    Raises UserError when a column is missing or holds something else.
    """
    with _reading(file), pq.ParquetFile(file) as parquet:
        missing = set(ROW_SCHEMA.names) - set(parquet.schema_arrow.names)
        if missing:
            raise UserError(f"{file} has no column {', '.join(sorted(missing))}; convert its source again")
        return parquet.read_row_group(index, ROW_SCHEMA.names).select(ROW_SCHEMA.names).cast(ROW_SCHEMA)


def write_rows(folder: str | Path, rows: Iterable[PromptRow], rows_per_file: int = 5000, row_group: int = 200) -> int:
    """Write `rows` into `folder` as part-00000.parquet and so on; return how many they were.

    Raises UserError when the folder already holds shards: two datasets never mix.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.parquet")):
        raise UserError(f"{folder} already holds Parquet files; give an empty folder or remove them first")
    rest, total, shard = iter(rows), 0, 0
    while (first := next(rest, None)) is not None:
        total += _write_shard(folder / f"part-{shard:05d}.parquet", first, islice(rest, rows_per_file - 1), row_group)
        shard += 1
    return total


def _write_shard(path: Path, first: PromptRow, others: Iterator[PromptRow], row_group: int) -> int:
    written, group = 0, [row_to_dict(first)]
    with pq.ParquetWriter(path, ROW_SCHEMA, compression="zstd") as writer:
        while group:
            group += [row_to_dict(row) for row in islice(others, row_group - len(group))]
            writer.write_table(pa.Table.from_pylist(group, ROW_SCHEMA), row_group_size=row_group)
            written += len(group)
            group = [row_to_dict(row) for row in islice(others, 1)]
    return written


def _row_groups(file: Path) -> int:
    with _reading(file):
        return int(pq.read_metadata(file).num_row_groups)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Say which file can't be read; Arrow's messages don't, and some of its errors are plain ones."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{file} is not a readable Parquet file of rows ({error}); convert its source again") from None
