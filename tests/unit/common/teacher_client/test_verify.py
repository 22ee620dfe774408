"""Answers that no teacher may give are refused by name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.teacher_client.failures import BadAnswer
from common.teacher_client.verify import verify
from common.wire import TeacherAnswer, failed

VOCABULARY_SIZE, TOP_K = 10, 3


def request_to(**task: Any) -> DistillRequest:
    return DistillRequest(model="m", top_k=TOP_K, sequences=[DistillSequence(id="a", prompt_token_ids=[1], **task)])


SCORE = request_to(completion_token_ids=[4, 5])
WRITE = request_to(generate=GenerateOptions(max_tokens=2))
GOOD = TeacherAnswer(
    id="a",
    model="m",
    revision="r",
    finish_reason="scored",
    error=None,
    token_ids=np.array([4, 5], np.int32),
    token_logprobs=np.log(np.array([0.5, 0.01], np.float32)),
    topk_ids=np.array([[4, 2, 9], [0, 1, 2]], np.int32),
    topk_logprobs=np.log(np.array([[0.5, 0.3, 0.1], [0.6, 0.2, 0.1]])).astype(np.float16),
    tail_logprob=np.log(np.array([0.1, 0.1], np.float32)),
)


def changed(name: str, at: Any, value: float) -> TeacherAnswer:
    array = getattr(GOOD, name).copy()
    array[at] = value
    return replace(GOOD, **{name: array})


def test_good_answers_pass():
    verify(GOOD, SCORE, VOCABULARY_SIZE)
    for finish_reason in ("stop", "length"):
        verify(replace(GOOD, finish_reason=finish_reason), WRITE, VOCABULARY_SIZE)
    certain = changed("topk_logprobs", 0, -np.inf)
    certain.topk_logprobs[0, 0] = 0
    certain.tail_logprob[0] = -np.inf
    verify(certain, SCORE, VOCABULARY_SIZE)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (replace(GOOD, id="b"), "id 'b', asked for 'a'"),
        (replace(GOOD, model="other"), "got model 'other', expected 'm'"),
        (failed("a", "m", "r", "poison", TOP_K, "float16"), "got the error 'poison'"),
        (replace(GOOD, finish_reason="stop"), "got finish reason 'stop', expected 'scored'"),
        (changed("token_ids", 1, 6), "it scores other tokens"),
        (replace(GOOD, tail_logprob=GOOD.tail_logprob[:1]), r"tail_logprob has shape \(1,\), expected \(2,\)"),
        (replace(GOOD, topk_ids=GOOD.topk_ids[:, :2]), r"topk_ids has shape \(2, 2\), expected \(2, 3\)"),
        (replace(GOOD, topk_logprobs=GOOD.topk_logprobs.astype(np.float32)), "as float32, expected float16"),
        (changed("topk_ids", (0, 2), 10), "topk_ids has ids outside the vocabulary of 10"),
        (changed("topk_ids", (0, 2), -1), "topk_ids has ids outside"),
        (changed("topk_ids", (0, 2), 4), "topk_ids has duplicates"),
        (changed("topk_logprobs", (1, 1), np.nan), "topk_logprobs has NaN"),
        (changed("tail_logprob", 1, np.inf), "tail_logprob has values above 0"),
        (changed("token_logprobs", 1, 0.01), "token_logprobs has values above 0"),
        (changed("topk_logprobs", (1, 2), -1), "not sorted"),
        (changed("tail_logprob", 1, np.log(0.11)), "mass 1.01"),
    ],
)
def test_what_is_wrong_is_named(answer: TeacherAnswer, named: str):
    with pytest.raises(BadAnswer, match=named):
        verify(answer, SCORE, VOCABULARY_SIZE)


def test_each_of_n_samples_and_of_several_sequences_is_checked_against_its_own():
    write = request_to(generate=GenerateOptions(max_tokens=2, n=2)).sequences[0]
    score = DistillSequence(id="s", prompt_token_ids=[1], completion_token_ids=[4, 5])
    request = DistillRequest(model="m", top_k=TOP_K, sequences=[write, score])
    for id, finish_reason in (("a/0", "stop"), ("a/1", "length"), ("s", "scored")):
        verify(replace(GOOD, id=id, finish_reason=finish_reason), request, VOCABULARY_SIZE)
    for id, named in (("a", "asked for 'a/0', 'a/1', 's'"), ("a/1", "expected 'stop' or 'length'")):
        with pytest.raises(BadAnswer, match=named):
            verify(replace(GOOD, id=id), request, VOCABULARY_SIZE)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (replace(GOOD, finish_reason="scored"), "expected 'stop' or 'length'"),
        (failed("a", "m", "r", "", TOP_K, "float16"), "got 0 tokens, expected 1 to 2"),
    ],
)
def test_written_completions_must_be_as_asked(answer: TeacherAnswer, named: str):
    with pytest.raises(BadAnswer, match=named):
        verify(answer, WRITE, VOCABULARY_SIZE)
    with pytest.raises(BadAnswer, match="expected 1 to 1"):
        verify(GOOD, request_to(generate=GenerateOptions(max_tokens=1)), VOCABULARY_SIZE)


def test_an_id_outside_the_vocabulary_is_refused_in_a_written_completion():
    with pytest.raises(BadAnswer, match="token_ids has ids outside"):
        verify(replace(changed("token_ids", 0, 10), finish_reason="stop"), WRITE, VOCABULARY_SIZE)
