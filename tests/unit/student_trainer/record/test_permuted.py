"""The control's record: real completions, distributions of another; the held-out slice untouched."""

from pathlib import Path

import numpy as np
import pytest

from common import wire
from common.api import DistillRequest, DistillSequence
from common.errors import UserError
from student_trainer.data.plan import Key
from student_trainer.record.permuted import permute_record
from student_trainer.record.store import RecordReader, RecordWriter


def request(name: str) -> DistillRequest:
    sequence = DistillSequence(id=name, prompt_token_ids=[1], completion_token_ids=[2])
    return DistillRequest(model="teacher", top_k=2, sequences=[sequence])


def answer(name: str, positions: int, first: int) -> wire.TeacherAnswer:
    column = np.full(positions, -1.0, np.float32)
    topk = np.arange(first, first + 2 * positions, dtype=np.int32).reshape(positions, 2)
    ids = np.full(positions, first, np.int32)
    return wire.TeacherAnswer(
        name, "teacher", "r", "scored", None, ids, column, topk, np.full((positions, 2), -1, np.float16), column
    )


def write(folder: Path, answers: dict[Key, wire.TeacherAnswer]) -> None:
    writer = RecordWriter(folder, rank=0, top_k=2, dtype="float16")
    for key, given in answers.items():
        writer.append(key, request(given.id), given, "refused" if given.error else None)
    writer.close()


def test_each_answer_gets_the_distributions_of_the_next(tmp_path: Path) -> None:
    held_out = answer("held-out", 2, first=900)
    answers = {
        Key(-1, 0): held_out,
        Key(0, 0): answer("a", 3, first=100),
        Key(0, 1): wire.failed("bad", "teacher", "r", "too long", 2, "float16"),
        Key(0, 2): answer("b", 2, first=200),
    }
    write(tmp_path / "record", answers)
    assert permute_record(tmp_path / "record", tmp_path / "permuted") == 2
    reader = RecordReader([tmp_path / "permuted"])
    entries = {key: reader.find(key, request(given.id)) for key, given in answers.items()}
    found = {key: entry.answer for key, entry in entries.items() if entry is not None}
    reader.close()
    first, second = found[Key(0, 0)], found[Key(0, 2)]
    np.testing.assert_array_equal(first.token_ids, [100, 100, 100])
    np.testing.assert_array_equal(first.topk_ids, [[200, 201], [202, 203], [200, 201]])  # repeated to its own length
    np.testing.assert_array_equal(second.topk_ids, [[100, 101], [102, 103]])  # cut to its own length
    np.testing.assert_array_equal(found[Key(-1, 0)].topk_ids, held_out.topk_ids)
    assert found[Key(0, 1)].error == "too long"


def test_one_answer_can_not_be_permuted(tmp_path: Path) -> None:
    write(tmp_path / "record", {Key(0, 0): answer("a", 3, first=100)})
    with pytest.raises(UserError, match="holds 1 answers, expected at least 2"):
        permute_record(tmp_path / "record", tmp_path / "permuted")
