"""Prompts in one global order per (seed, epoch), exact at every cut, with bounded memory.

The order: Parquet row groups are permuted by (seed, epoch), WINDOW of them at a time form a window, rows are permuted
inside their window. So an index is found without reading what comes before it, and one window is all that is held.
Shuffled by traces, it is the traces of a window that are permuted; only the end of a row group cuts one.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.errors import UserError
from common.toolbench.rows import ROW_SCHEMA, PromptRow, read_row_group, row_from_dict, shards

HASHES = 2**63
WINDOW = 8
"""Row groups shuffled together."""


@dataclass(frozen=True)
class _RowGroup:
    file: Path
    index: int
    rows: int


@dataclass(frozen=True)
class _Window:
    """The rows of one window and the order they come in."""

    epoch: int
    number: int
    table: pa.Table
    order: NDArray[np.int64]


class PromptStream:
    """The training prompts; `len(stream)` is the number of rows in an epoch.

    Raises UserError when `path` is missing or holds no rows.
    """

    def __init__(self, path: Path, seed: int, shuffle: Literal["rows", "traces"] = "rows") -> None:
        self._seed, self._shuffle = seed, shuffle
        self._groups = [group for file in shards(path) for group in _row_groups(file)]
        self._rows = sum(group.rows for group in self._groups)
        if not self._rows:
            raise UserError(f"{path} holds no rows; convert data into it with `python -m common.toolbench convert`")
        self._epoch: int | None = None
        self._epoch_groups: list[_RowGroup] = []
        self._starts: list[int] = []
        self._window: _Window | None = None

    def __len__(self) -> int:
        return self._rows

    def row(self, epoch: int, index: int) -> PromptRow:
        """The row at `index` of the epoch's global order; cheapest when indices follow on."""
        if not 0 <= index < self._rows:
            raise IndexError(f"index {index} is outside the epoch's {self._rows} rows")
        self._enter_epoch(epoch)
        number = bisect_right(self._starts, index) - 1
        window = self._load(epoch, number)
        row = int(window.order[index - self._starts[number]])
        return row_from_dict(window.table.slice(row, 1).to_pylist()[0])

    def _enter_epoch(self, epoch: int) -> None:
        """Permute the row groups; windows start at `_starts`."""
        if epoch == self._epoch:
            return
        permutation = _permutation(len(self._groups), "groups", self._seed, epoch)
        groups = [self._groups[i] for i in permutation]
        self._starts = list(accumulate((group.rows for group in groups), initial=0))[:-1:WINDOW]
        self._epoch, self._epoch_groups = epoch, groups

    def _load(self, epoch: int, number: int) -> _Window:
        window = self._window
        if window is None or (window.epoch, window.number) != (epoch, number):
            self._window = None  # let go of the old window before reading the new one
            groups = self._epoch_groups[number * WINDOW : (number + 1) * WINDOW]
            table = pa.concat_tables(map(_read, groups))
            if self._shuffle == "traces":
                order = _whole_traces(table, self._seed, epoch, number)
            else:
                order = _permutation(table.num_rows, "rows", self._seed, epoch, number)
            window = self._window = _Window(epoch, number, table, order)
        return window


def _row_groups(file: Path) -> Iterator[_RowGroup]:
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file ({error}); convert its source again") from None
    missing = set(ROW_SCHEMA.names) - set(metadata.schema.to_arrow_schema().names)
    if missing:
        raise UserError(f"{file} has no column {', '.join(sorted(missing))}; convert its source again")
    for index in range(metadata.num_row_groups):
        yield _RowGroup(file, index, metadata.row_group(index).num_rows)


def _read(group: _RowGroup) -> pa.Table:
    return read_row_group(group.file, group.index)


def _whole_traces(table: pa.Table, *key: int) -> NDArray[np.int64]:
    """The rows' order when traces are permuted and the rows of each stay in theirs."""
    names, trace_of = np.unique(table.column("trace").to_numpy(), return_inverse=True)
    return np.argsort(_permutation(len(names), "traces", *key)[trace_of], kind="stable")


def _permutation(size: int, *key: int | str) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(hash63(*key))).permutation(size)


def hash63(*key: int | str) -> int:
    """An integer in [0, HASHES) that follows from `key` alone, whatever the order of calls or the number of workers."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HASHES
