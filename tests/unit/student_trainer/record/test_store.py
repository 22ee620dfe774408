"""The record: whole answers survive any cut, and a replay gives the same examples to the bit."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.api import DistillRequest, DistillSequence
from common.errors import UserError
from common.teacher_client.handshake import Revisions
from common.wire import TeacherAnswer, encode, failed
from student_trainer.data.plan import Example, Key, plan_steps
from student_trainer.pipeline.recorded_teacher import RecordedTeacher
from student_trainer.record import segments
from student_trainer.record.store import RecordReader, RecordWriter
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.pipeline.test_example_source import ids, opened, take, unused
from tests.unit.student_trainer.stand_in import StandInTeacher, make_row, make_settings

WRITES = {"writer": {"teacher": 0.5, "dataset": 0.5}, "max_new_tokens": 6}
REQUEST = DistillRequest(
    model="m", top_k=2, sequences=[DistillSequence(id="a", prompt_token_ids=[1], completion_token_ids=[2, 3])]
)


def make_answer(number: int, positions: int = 2) -> TeacherAnswer:
    values = np.full(positions, -number, np.float32)
    pairs = np.tile(np.array([-0.5, -number - 1], np.float16), (positions, 1))
    ids = np.tile(np.array([number, 9], np.int32), (positions, 1))
    return TeacherAnswer(
        "a", "m", "r", "scored", None, np.arange(positions, dtype=np.int32), values, ids, pairs, values
    )


def as_bytes(answer: TeacherAnswer) -> bytes:
    return encode([answer], answer.top_k, "float16")


def with_source(settings: TrainSettings, source: str, folder: Path | None = None) -> TrainSettings:
    assert settings.teacher is not None
    changes = {"source": source, "record_folder": folder}
    return settings.model_copy(update={"teacher": settings.teacher.model_copy(update=changes)})


def flat(steps: list) -> list[Example]:
    return [example for step in steps for example in step.examples]


def assert_same(one: list[Example], other: list[Example]) -> None:
    assert [(e.sequence, e.key) for e in one] == [(e.sequence, e.key) for e in other]
    for left, right in zip(one, other, strict=True):
        assert left.answer is not None
        assert right.answer is not None
        assert as_bytes(left.answer) == as_bytes(right.answer)


def write(folder: Path, answers: dict[Key, TeacherAnswer], rank: int = 0, compact: bool = True) -> Path:
    writer = RecordWriter(folder, rank, 2, "float16")
    for key, answer in answers.items():
        writer.append(key, REQUEST, answer, "refused" if answer.error else None)
    writer.close(compact)
    return max(folder.glob(f"*rank-{rank:05d}*"))


def interrupted(settings: TrainSettings) -> tuple[list[Example], Path]:
    """All examples of an epoch, and the segment that is left because the run broke off then."""
    with suppress(KeyboardInterrupt), opened(settings) as source:
        examples = flat(list(source.steps(plan_steps(20, settings.batch_size, 1, None, 0, 1))))
        raise KeyboardInterrupt
    (segment,) = (settings.run_folder / "record").glob("*.arrows")
    return examples, segment


def test_answers_are_found_while_the_segment_is_still_open(tmp_path: Path):
    writer = RecordWriter(tmp_path, 0, 2, "float16")
    answers = {Key(0, 4): make_answer(4), Key(-1, 0): make_answer(5, positions=7)}
    answers[Key(1, 4)] = failed("a", "m", "r", "poison", 2, "float16")
    for key, answer in answers.items():
        writer.append(key, REQUEST, answer, "refused" if answer.error else None)
    record = RecordReader([tmp_path])
    assert len(record) == 3
    for key, answer in answers.items():
        found = record.find(key, REQUEST)
        assert found is not None
        assert (as_bytes(found.answer), found.failure) == (as_bytes(answer), answer.error and "refused")
    assert record.find(Key(0, 5), REQUEST) is None
    record.close()
    writer.close()


def test_a_segment_cut_anywhere_keeps_its_whole_answers(tmp_path: Path):
    path = write(tmp_path, {Key(0, number): make_answer(number) for number in range(3)}, compact=False)
    whole, found = path.read_bytes(), []
    for cut in (*range(0, len(whole), 28), len(whole)):
        path.write_bytes(whole[:cut])
        record = RecordReader([tmp_path])
        found.append(len(record))
        assert all(record.find(Key(0, number), REQUEST) for number in range(len(record)))
        record.close()
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize("compact", [True, False])
def test_a_later_start_counts_over_an_earlier_one_whatever_the_rank(tmp_path: Path, compact: bool):
    write(tmp_path, {Key(0, 0): make_answer(1), Key(0, 1): make_answer(1)}, rank=1, compact=compact)
    write(tmp_path, {Key(0, 0): make_answer(2)}, rank=0, compact=not compact)
    record = RecordReader([tmp_path])
    numbers = [found.answer.topk_ids[0, 0] for key in (Key(0, 0), Key(0, 1)) if (found := record.find(key, REQUEST))]
    assert numbers == [2, 1]


def test_the_answer_to_another_request_is_refused(tmp_path: Path):
    write(tmp_path, {Key(0, 0): make_answer(1)})
    other = REQUEST.model_copy(update={"top_k": 3})
    with pytest.raises(UserError, match="another request at epoch 0, index 0"):
        RecordReader([tmp_path]).find(Key(0, 0), other)


def test_a_record_of_another_version_is_refused_and_kept(tmp_path: Path):
    path = write(tmp_path, {Key(0, 0): make_answer(1)}, compact=False)
    assert path.read_bytes().count(b"record") == 1
    path.write_bytes(path.read_bytes().replace(b"record", b"recorb"))
    with pytest.raises(UserError, match="is a record of version none, this reader knows 3"):
        RecordReader([tmp_path])
    write(tmp_path, {Key(0, 1): make_answer(1)})
    assert path.exists()


def test_of_two_revisions_the_teachers_own_counts_and_without_one_the_latest(tmp_path: Path):
    for revision in ("r1", "r2"):
        write(tmp_path, {Key(0, 0): replace(make_answer(1), revision=revision)})
    for wanted, got in ((None, "r2"), ("r1", "r1"), ("r2", "r2"), ("r3", "r2")):
        found = RecordReader([tmp_path], wanted).find(Key(0, 0), REQUEST)
        assert found is not None
        assert found.answer.revision == got
    assert RecordReader([tmp_path], "r3", only_same=True).find(Key(0, 0), REQUEST) is None
    assert RecordReader([tmp_path], "r2", only_same=True).find(Key(0, 0), REQUEST) is not None
    assert RecordReader([tmp_path], "r1", only_same=True).find(Key(0, 0), REQUEST) is None  # a replay takes r2's


def test_an_unwritable_record_is_one_clear_line(tmp_path: Path):
    (tmp_path / "record").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="can't append to the record"):
        write(tmp_path / "record", {Key(0, 0): make_answer(1)})


def test_where_no_file_can_be_locked_answers_are_recorded_and_not_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(file: object, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(segments.fcntl, "flock", refuse)
    assert write(tmp_path, {Key(0, 0): make_answer(1)}).suffix == ".arrows"
    assert RecordReader([tmp_path]).find(Key(0, 0), REQUEST) is not None


def test_replay_gives_the_same_examples_without_a_teacher(tmp_path: Path):
    rows = [make_row(number) for number in range(20)]
    settings = make_settings(tmp_path, rows, completion=WRITES)
    teacher = StandInTeacher(
        lambda answer: replace(answer, error="poison") if answer.id == "row-8" else answer,
        refuse=lambda sequence: 413 if sequence.id == "row-9" else None,
    )
    live = take(settings, teacher, epochs=2)
    assert {prompt.kind for prompt in unused(live)} == {"refused", "cut_by_length"}

    replay = with_source(settings, "record", settings.run_folder / "record")
    replay = replay.model_copy(update={"run_folder": tmp_path / "replay"})
    silent = StandInTeacher()
    steps = take(replay, silent, epochs=2)
    assert silent.requests == []
    assert_same(flat(steps), flat(live))
    assert unused(steps) == unused(live)


def test_validation_is_replayed_too(tmp_path: Path):
    settings = make_settings(tmp_path)
    rows = [make_row(number) for number in (70, 71)]
    with opened(settings) as source:
        live = source.answer_rows(enumerate(rows))
    with opened(with_source(settings, "record")) as source:
        assert_same(source.answer_rows(enumerate(rows)), live)


@pytest.mark.parametrize("source", ["live", "live+record"])
def test_only_what_is_missing_is_asked(tmp_path: Path, source: str):
    settings = make_settings(tmp_path, completion=WRITES | {"keep_length_cut": True})
    whole, segment = interrupted(settings)
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    recorded = len(RecordReader([segment.parent]))
    assert 0 < recorded < 20

    teacher = StandInTeacher()
    steps = take(with_source(settings, source), teacher)
    assert_same(flat(steps), whole)
    assert len(teacher.requests) == 2 + 20 - recorded  # two to probe
    assert_same(flat(take(with_source(settings, "record"))), whole)  # now complete
    assert {path.suffix for path in segment.parent.iterdir()} == {".parquet"}


def test_a_live_run_reads_no_answers_of_another_run_teacher_or_request(tmp_path: Path):
    settings = make_settings(tmp_path)
    take(settings)
    elsewhere = with_source(settings, "live", settings.run_folder / "record")
    for other, revision in (
        (elsewhere.model_copy(update={"run_folder": tmp_path / "other"}), "r1"),
        (settings, "r2"),
        (make_settings(tmp_path, teacher=settings.teacher.model_dump() | {"top_k": 4}), "r1"),
    ):
        teacher = StandInTeacher(revision=revision)
        take(other, teacher)
        assert len(teacher.requests) == 2 + 20


def test_a_gap_in_the_record_names_its_place(tmp_path: Path):
    settings = make_settings(tmp_path)
    take(settings)
    with pytest.raises(UserError, match=r"no answer for epoch 1, index 0 \(row-\d+\).*live\+record"):
        take(with_source(settings, "record"), epochs=2)


def test_an_empty_record_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no recorded answers in .*run/record"):
        take(with_source(make_settings(tmp_path), "record"))


def test_answers_of_two_revisions_mix_only_where_that_is_accepted(tmp_path: Path):
    settings = make_settings(tmp_path)
    take(settings)
    with pytest.raises(UserError, match="got revision r1 of teacher, the run began with r2"):
        take(with_source(settings, "live+record"), StandInTeacher(revision="r2"))
    replaced = StandInTeacher(revision="r2")
    assert settings.teacher is not None
    accepting = settings.teacher.model_copy(update={"on_new_revision": "accept"})
    steps = take(with_source(settings.model_copy(update={"teacher": accepting}), "live+record"), replaced)
    assert {example.answer.revision for example in flat(steps) if example.answer} == {"r1"}
    assert len(replaced.requests) == 2  # to probe


def test_a_record_of_two_revisions_is_refused_without_a_teacher_too(tmp_path: Path):
    recorded = {
        Key(0, position): asyncio.run(StandInTeacher(revision=revision).distill(REQUEST))[0]
        for position, revision in enumerate(("r1", "r2"))
    }
    write(tmp_path / "mixed", recorded)
    writer = RecordWriter(tmp_path / "own", 0, 2, "float16")
    answers = RecordedTeacher(RecordReader([tmp_path / "mixed"]), None, writer, Revisions("stop"))
    assert asyncio.run(answers.get(Key(0, 0), REQUEST)).revision == "r1"
    with pytest.raises(UserError, match="revision r2 of m, the run began with r1"):
        asyncio.run(answers.get(Key(0, 1), REQUEST))
    writer.close()


def test_a_recorded_answer_that_contradicts_itself_is_asked_again(tmp_path: Path):
    settings = make_settings(tmp_path)
    whole, segment = interrupted(settings)
    example = whole[0]
    assert example.answer is not None
    good = example.answer.tail_logprob.tobytes()
    assert segment.read_bytes().count(good) == 1
    segment.write_bytes(segment.read_bytes().replace(good, np.full(len(example.answer), np.nan, np.float32).tobytes()))
    teacher = StandInTeacher()
    assert sorted(ids(take(with_source(settings, "live"), teacher))) == sorted(example.sequence.id for example in whole)
    assert [request.sequences[0].id for request in teacher.requests[2:]] == [example.sequence.id]
