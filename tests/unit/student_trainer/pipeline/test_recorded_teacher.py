"""Malformed answers are rejected, counted, asked for again elsewhere, and set aside in the end."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.teacher_client.failures import PromptFailed
from common.teacher_client.handshake import Revisions
from common.wire import TeacherAnswer
from student_trainer.data.plan import Key
from student_trainer.pipeline.recorded_teacher import RecordedTeacher
from student_trainer.record.store import RecordReader, RecordWriter
from tests.unit.common.teacher_client.served import A, B, Served, ask, pool_over
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
    async def get(*served: Served) -> TeacherAnswer:
        async with pool_over(dict(zip((A, B), served, strict=False))) as pool:
            answers = RecordedTeacher(None, pool, writer, Revisions("stop"))
            return await answers.get(Key(0, 0), ask(0))

    writer = RecordWriter(tmp_path, 0, TOP_K, "float16")
    bad, good = Served(spoil=MALFORMED[named]), Served()
    assert run(get(bad, good)).error is None
    assert len(good.prompts()) == 1
    with pytest.raises(PromptFailed, match=re.escape(named)) as failed:
        run(get(bad))
    assert failed.value.kind == "bad_answer"
    writer.close()
    reader = RecordReader([tmp_path])
    entry = reader.find(Key(0, 0), ask(0))
    assert entry is not None
    assert (entry.failure, entry.answer.error) == ("bad_answer", failed.value.reason)
