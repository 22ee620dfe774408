"""Compaction: the same bits in Parquet; no crash, full disk or living writer loses an answer or gives it twice."""

import logging
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.wire import LogprobDtype, TeacherAnswer, encode, failed
from student_trainer.data.plan import Key
from student_trainer.record import compaction, store
from student_trainer.record.compaction import compact
from student_trainer.record.store import RecordReader, RecordWriter
from tests.unit.student_trainer.record.test_store import REQUEST, make_answer, write


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing beyond `size` bytes fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def numbers(folder: Path, keys: Iterator[Key] | list[Key]) -> list[int | None]:
    """The number that each key's answer was made with."""
    reader = RecordReader([folder])
    found = [reader.find(key, REQUEST) for key in keys]
    return [None if each is None else int(each.answer.topk_ids[0, 0]) for each in found]


def kinds(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def any_bits(draw: np.random.Generator, positions: int, k: int, dtype: LogprobDtype) -> TeacherAnswer:
    """Arrays of any bits: NaN, infinities, minus zero, falling and rising."""

    def bits(*shape: int, kind: str) -> np.ndarray:
        return np.frombuffer(draw.bytes(int(np.prod(shape)) * np.dtype(kind).itemsize), kind).reshape(shape)

    return TeacherAnswer(
        "a", "m", "r", "scored", None, bits(positions, kind="int32"), bits(positions, kind="float32"),
        bits(positions, k, kind="int32"), bits(positions, k, kind=dtype), bits(positions, kind="float32"),
    )  # fmt: skip


@pytest.mark.parametrize(("k", "dtype"), [(1, "float16"), (64, "float16"), (5, "float32")])
def test_every_bit_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, dtype: LogprobDtype):
    monkeypatch.setattr(compaction, "GROUP_BYTES", 5000)
    draw = np.random.default_rng(0)
    answers = {Key(at % 2, at): any_bits(draw, int(draw.integers(0, 30)), k, dtype) for at in range(30, 0, -1)}
    answers[Key(1, 4)] = failed("a", "m", "r", "poison", k, dtype)
    writer = RecordWriter(tmp_path, 0, k, dtype)
    for key, answer in answers.items():
        writer.append(key, REQUEST, answer, "refused" if answer.error else None)
    writer.close()
    assert kinds(tmp_path) == {".parquet"}
    reader = RecordReader([tmp_path])
    assert len(reader) == len(answers)
    for key, answer in answers.items():
        found = reader.find(key, REQUEST)
        assert found is not None
        assert encode([found.answer], k, dtype) == encode([answer], k, dtype)


def test_segments_are_rotated_and_compacted_while_answers_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "SEGMENT_BYTES", 4000)
    writer, keys = RecordWriter(tmp_path, 0, 2, "float16"), [Key(0, number) for number in range(12)]
    for key in keys:
        writer.append(key, REQUEST, make_answer(key.index))
        assert numbers(tmp_path, keys[: key.index + 1]) == list(range(key.index + 1))
    writer.close()
    assert len(list(tmp_path.glob("start-000001-rank-00000-part-*.parquet"))) == len(list(tmp_path.iterdir())) > 2
    assert numbers(tmp_path, keys) == list(range(12))


def test_a_crash_between_renaming_and_removing_gives_no_answer_twice(tmp_path: Path):
    segment = write(tmp_path, {Key(0, 0): make_answer(1), Key(0, 1): make_answer(2)}, compact=False)
    shutil.copy(segment, tmp_path / "aside")
    (tmp_path / f".{segment.stem}.parquet.partial").write_text("of an attempt that was killed")
    assert compact(segment)
    (tmp_path / "aside").rename(segment)
    assert len(RecordReader([tmp_path])) == 2
    assert numbers(tmp_path, [Key(0, 0), Key(0, 1)]) == [1, 2]
    assert compact(segment)
    assert kinds(tmp_path) == {".parquet"}
    assert not compact(segment)


def test_a_torn_leftover_is_compacted_by_rank_0_of_the_next_start_up_to_its_last_whole_answer(tmp_path: Path):
    segment = write(tmp_path, {Key(0, number): make_answer(number) for number in range(3)}, rank=3, compact=False)
    segment.write_bytes(segment.read_bytes()[:-9])
    headless = segment.with_name("start-000002-rank-00001-part-000001.arrows")
    headless.write_bytes(segment.read_bytes()[:20])
    damaged = headless.with_name("start-000003-rank-00000-part-000001.arrows")
    damaged.write_bytes(bytes(5000))
    RecordWriter(tmp_path, 1, 2, "float16").close()
    assert kinds(tmp_path) == {".arrows"}
    RecordWriter(tmp_path, 0, 2, "float16").close()
    assert sorted(tmp_path.iterdir()) == [segment.with_suffix(".parquet"), damaged]  # what can't be read is not removed
    assert numbers(tmp_path, [Key(0, number) for number in range(3)]) == [0, 1, None]


def test_a_living_writers_segment_is_left_alone_and_its_start_stays_the_earlier(tmp_path: Path):
    old = RecordWriter(tmp_path, 1, 2, "float16")
    old.append(Key(0, 0), REQUEST, make_answer(1))
    write(tmp_path, {Key(0, 0): make_answer(2)}, rank=0)
    assert sorted(kinds(tmp_path)) == [".arrows", ".parquet"]
    old.append(Key(0, 1), REQUEST, make_answer(3))
    old.append(Key(0, 0), REQUEST, make_answer(4))
    old.close()
    assert kinds(tmp_path) == {".parquet"}
    assert numbers(tmp_path, [Key(0, 0), Key(0, 1)]) == [2, 3]


def test_a_reader_follows_a_segment_that_is_compacted_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "PARTS_OPEN", 1)
    for number in (2, 1):
        answers = {Key(0, at): make_answer(10 * number + at) for at in range(number)}
        last = write(tmp_path, answers, rank=1, compact=False)
    reader = RecordReader([tmp_path])
    first, _ = sorted(tmp_path.iterdir())
    assert compact(first)
    for key, number in ((Key(0, 1), 21), (Key(0, 0), 10)):
        found = reader.find(key, REQUEST)
        assert found is not None
        assert found.answer.topk_ids[0, 0] == number
    assert last.exists()


def test_a_damaged_compacted_segment_counts_as_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write(tmp_path, {Key(0, 0): make_answer(1, positions=500)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.rindex(b"\x28\xb5\x2f\xfd") + 9] ^= 1  # in the last page
    path.write_bytes(flipped)
    assert numbers(tmp_path, [Key(0, 0)]) == [None]
    assert "as if missing: epoch 0, index 0" in caplog.text
    path.write_bytes(whole[:-1])
    assert len(RecordReader([tmp_path])) == 0
    assert "is damaged and left out" in caplog.text


def test_after_a_full_disk_a_new_segment_is_begun_and_nothing_whole_is_lost(tmp_path: Path):
    writer, keys = RecordWriter(tmp_path, 0, 2, "float16"), [Key(0, number) for number in range(3)]
    writer.append(keys[0], REQUEST, make_answer(0))
    (segment,) = tmp_path.iterdir()
    with no_file_above(segment.stat().st_size + 100), pytest.raises(UserError, match=r"can't append .* free space"):
        writer.append(keys[1], REQUEST, make_answer(1))
    writer.append(keys[2], REQUEST, make_answer(2))
    writer.close()
    assert numbers(tmp_path, keys) == [0, None, 2]


def test_a_failing_compaction_keeps_its_segments_and_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    for number in range(2):
        write(tmp_path, {Key(0, number): make_answer(number)}, rank=1, compact=False)
    with no_file_above(100):
        RecordWriter(tmp_path, 0, 2, "float16").close()
    assert kinds(tmp_path) == {".arrows"}
    assert len([line for line in caplog.records if "is kept as it is" in line.message]) == 1
    assert numbers(tmp_path, [Key(0, 0), Key(0, 1)]) == [0, 1]
