"""Malformed answers are rejected, counted, asked for again elsewhere, and set aside in the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.wire import TeacherAnswer
from student_trainer.pipeline.recorded_teacher import Answers, kind_of
from student_trainer.record.store import Key, RecordWriter
from student_trainer.teacher.revisions import Revisions
from tests.unit.student_trainer.served import A, B, Served, ask, pool_over
from tests.unit.student_trainer.stand_in import TOP_K, VOCABULARY_SIZE, Spoil
from tests.virtual_time import run


def put(name: str, value: float) -> Spoil:
    """Puts `value` into the first position."""

    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        array = getattr(answer, name).copy()
        array[(0,) * array.ndim] = value
        return replace(answer, **{name: array}) if answer.id.startswith("row-") else answer

    return spoil


def one_row_less(answer: TeacherAnswer) -> TeacherAnswer:
    return replace(answer, topk_ids=answer.topk_ids[1:]) if answer.id.startswith("row-") else answer


def one_id_twice(answer: TeacherAnswer) -> TeacherAnswer:
    return put("topk_ids", answer.topk_ids[0, 1])(answer)


def of_another_version(answer: TeacherAnswer) -> TeacherAnswer:
    return replace(answer, schema_version=2) if answer.id.startswith("row-") else answer


MALFORMED = {
    "tail_logprob has NaN": put("tail_logprob", np.nan),
    "topk_logprobs has values above 0": put("topk_logprobs", np.inf),
    "token_logprobs has values above 0": put("token_logprobs", 0.01),
    "a position has mass": put("tail_logprob", -0.01),
    "topk_ids has ids outside the vocabulary of 257": put("topk_ids", VOCABULARY_SIZE),
    "topk_ids has duplicates": one_id_twice,
    "sequence row-0: 2 tokens but columns of lengths": one_row_less,
    "it scores other tokens than those asked": put("token_ids", 7),
    "got schema version 2, expected 1": of_another_version,
}


@pytest.mark.parametrize("named", MALFORMED)
def test_malformed_answers_are_rejected_and_asked_for_elsewhere(named: str, tmp_path: Path):
    async def get(*served: Served) -> tuple[TeacherAnswer, float]:
        async with pool_over(dict(zip((A, B), served, strict=False))) as pool:
            answers = Answers(None, pool, writer, VOCABULARY_SIZE, Revisions("stop"))
            return await answers.get(Key(0, 0), ask(0)), pool.counts()["rejected"] + answers.rejected

    writer = RecordWriter(tmp_path, 0, TOP_K, "float16")
    bad, good = Served(spoil=MALFORMED[named]), Served()
    answer, rejected = run(get(bad, good))
    assert (answer.error, rejected, len(good.prompts())) == (None, 1, 1)
    answer, rejected = run(get(bad))
    assert answer.error is not None
    assert named in answer.error
    assert rejected >= 3
    assert kind_of(answer.error) == ("failed" if "columns" in named else "bad_answer")
    writer.close()
