"""The global order: each row once, the same at every cut and for every number of workers."""

from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from common.toolbench.rows import ROW_SCHEMA, write_rows
from student_trainer.data import prompt_stream as stream_module
from student_trainer.data.plan import plan_steps
from student_trainer.data.prompt_stream import WINDOW, PromptStream
from tests.unit.student_trainer.stand_in import make_row

ROWS = 100  # in row groups of 3, so several windows of WINDOW groups


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path, (make_row(number) for number in range(ROWS)), rows_per_file=30, row_group=3)
    return tmp_path


def order(stream: PromptStream, epoch: int, start: int = 0, stop: int = ROWS) -> list[str]:
    return [stream.row(epoch, index).id for index in range(start, stop)]


def test_each_row_comes_once_per_epoch(folder: Path):
    stream = PromptStream(folder, seed=1)
    assert len(stream) == ROWS > 3 * WINDOW
    for epoch in (0, 1):
        assert sorted(order(stream, epoch)) == sorted(f"row-{number}" for number in range(ROWS))


def test_order_is_the_same_at_every_cut(folder: Path):
    whole = order(PromptStream(folder, seed=1), epoch=0)
    for cut in range(ROWS):
        assert order(PromptStream(folder, seed=1), 0, cut, min(cut + 5, ROWS)) == whole[cut : cut + 5]


def test_rows_come_with_their_content(folder: Path):
    stream = PromptStream(folder, seed=1)
    rows = [stream.row(0, index) for index in range(95, 100)]
    assert all(row == make_row(int(row.id.removeprefix("row-"))) for row in rows)


def test_seed_and_epoch_change_the_order(folder: Path):
    orders = [order(PromptStream(folder, seed), epoch) for seed in (-1, 1) for epoch in (0, 1)]
    orders.append([f"row-{number}" for number in range(ROWS)])
    assert len({tuple(ids) for ids in orders}) == len(orders)


def test_going_back_and_forth_between_epochs_changes_nothing(folder: Path):
    stream = PromptStream(folder, seed=1)
    first = order(stream, 0, 40, 60)
    order(stream, 1, 10, 90)
    assert order(stream, 0, 40, 60) == first


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_number_of_workers_shares_the_same_steps(folder: Path, world: int):
    """Each step's rows, over all ranks, are the next `batch` of the order; the last step of an epoch is short."""
    batch, epochs = 16, 2
    whole = PromptStream(folder, seed=1)
    expected = [
        order(whole, epoch, start, min(start + batch, ROWS))
        for epoch in range(epochs)
        for start in range(0, ROWS, batch)
    ]
    streams = [PromptStream(folder, seed=1) for _ in range(world)]
    plans = [plan_steps(ROWS, batch, epochs, None, rank, world) for rank in range(world)]
    steps = [
        list(chain(*(order(s, p.epoch, p.indices.start, p.indices.stop) for s, p in zip(streams, step, strict=True))))
        for step in zip(*plans, strict=True)
    ]
    assert steps == expected


def test_each_row_group_is_read_once_while_positions_follow_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    reads = []
    read = stream_module._read
    monkeypatch.setattr(stream_module, "_read", lambda group: reads.append(group) or read(group))
    stream = PromptStream(folder, seed=1)
    for start in range(0, ROWS, 8):
        order(stream, 0, start, min(start + 8, ROWS))
    assert len(reads) == len(set(reads)) == 34  # 30 + 30 + 30 + 10 rows in groups of 3


def test_shuffled_by_traces_rows_of_a_trace_stay_together(tmp_path: Path):
    """Traces of 1 to 5 rows, of which row groups of 40 cut some; windows hold them all."""
    lengths = [1 + number % 5 for number in range(60)]
    traces = [number for number, length in enumerate(lengths) for _ in range(length)]
    rows = [replace(make_row(n), trace=f"t{trace}", step=n) for n, trace in enumerate(traces)]
    write_rows(tmp_path, rows, row_group=40)
    stream = PromptStream(tmp_path, seed=1, shuffle="traces")
    epochs = [[stream.row(epoch, index) for index in range(len(rows))] for epoch in (0, 1)]
    for ordered in epochs:
        assert sorted(row.id for row in ordered) == sorted(row.id for row in rows)
        runs = [list(group) for _, group in groupby(ordered, key=lambda row: row.trace)]
        assert len(runs) == len(lengths)
    assert epochs[0] != epochs[1]
    again = PromptStream(tmp_path, seed=1, shuffle="traces")
    assert [again.row(0, index) for index in range(70, 90)] == epochs[0][70:90]


@pytest.mark.parametrize("content", ["missing", "empty", "no rows", "broken", "other columns"])
def test_unusable_data_is_named(tmp_path: Path, content: str):
    folder = tmp_path / "data"
    if content != "missing":
        folder.mkdir()
    if content == "no rows":
        pq.write_table(ROW_SCHEMA.empty_table(), folder / "part-00000.parquet")
    if content == "broken":
        (folder / "part-00000.parquet").write_bytes(b"PAR1 but no more")
    if content == "other columns":
        pq.write_table(pa.table({"text": ["a"]}), folder / "part-00000.parquet")
    with pytest.raises(UserError, match=str(folder)):
        PromptStream(folder, seed=0)
