"""The handshake refuses by name a teacher that means something else, or whose positions are shifted."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.api import ServedModel
from common.render import Renderer, Template
from common.teacher_client.handshake import Handshake, HandshakeError, Revisions
from common.teacher_client.settings import TeacherClientSettings
from common.wire import TeacherAnswer
from tests.unit.student_trainer.stand_in import TOKENIZER, Spoil, StandInTeacher

PROMPTS = [list(range(20 + shift, 60)) for shift in range(8)]
SETTINGS: dict[str, Any] = {"url": "http://stand-in", "model": "teacher", "top_k": 8}


def greet(
    teacher: StandInTeacher, max_length: int = 128, template: Template = "toolbench", **changes: Any
) -> Revisions:
    async def check() -> None:
        await handshake.check("http://stand-in", teacher, await teacher.teacher())

    revisions = Revisions("stop")
    settings, renderer = TeacherClientSettings(**(SETTINGS | changes)), Renderer(TOKENIZER, template, None)
    handshake = Handshake(settings, renderer, max_length, PROMPTS, revisions)
    asyncio.run(check())
    return revisions


def test_a_fitting_teacher_is_accepted_and_its_revision_is_the_runs():
    teacher = StandInTeacher(revision="abc")
    assert greet(teacher).first == "abc"
    written, scored = (request.sequences[0] for request in teacher.requests)
    assert written.generate is not None
    assert (written.generate.temperature, written.generate.max_tokens) == (0, 32)
    assert written.prompt_token_ids == scored.prompt_token_ids == PROMPTS[0]
    assert {request.logprob_dtype for request in teacher.requests} == {"float32"}


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ({"tokenizer_fingerprint": "0" * 64}, "its tokenizer is 000000000000…"),
        ({"terminators": {"toolbench": 7}}, "ends with token 7 under its template toolbench, with 256 under the stud"),
        ({"terminators": {}}, "ends with token None under its template toolbench"),
        ({"max_top_k": 4}, "at most 4 entries per position, asked are 8"),
        ({"max_length": 64}, "at most 64 tokens, asked are 128"),
        ({"models": [ServedModel(name="base", adapter=False, revision="r")]}, "it serves base, expected teacher"),
        ({"versions": {"wire": "2"}}, "wire version 2, expected 1"),
        ({"versions": {}}, "wire version None"),
        ({"abilities": ["score"]}, "it can't generate"),
    ],
)
def test_what_differs_is_named(card: dict[str, Any], named: str):
    with pytest.raises(HandshakeError, match=named):
        greet(StandInTeacher(**card))


def test_an_end_that_only_the_teacher_has_is_said(caplog: pytest.LogCaptureFixture):
    greet(StandInTeacher(end_token_ids=[7, TOKENIZER.eos_token_id]))
    assert caplog.messages == ["the teacher also ends with the tokens [7], which the student's files don't name"]


def test_all_differences_are_named_at_once():
    with pytest.raises(HandshakeError, match=r"serves teacher, expected other.*asked are 65.*asked are 300"):
        greet(StandInTeacher(), max_length=300, model="other", top_k=65)


@pytest.mark.parametrize(("length", "asked"), [(31, 2), (8, 4), (1, 8)])
def test_further_prompts_are_probed_when_the_teacher_ends_early(length: int, asked: int):
    teacher = StandInTeacher(ending_after(length))
    greet(teacher)
    prompts = [request.sequences[0].prompt_token_ids for request in teacher.requests]
    assert prompts[::2] == prompts[1::2] == PROMPTS[:asked]


def test_a_later_prompt_can_show_the_misalignment():
    end = ending_after(8)

    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        late = answer.finish_reason == "scored" and len(teacher.requests) == 6
        return replace(answer, token_logprobs=answer.token_logprobs - np.float32(0.05)) if late else end(answer)

    teacher = StandInTeacher(spoil)
    with pytest.raises(HandshakeError, match="and scores it"):
        greet(teacher)


def ending_after(length: int) -> Spoil:
    """Cuts what is written to `length` tokens, as a model that ends there."""

    def end(answer: TeacherAnswer) -> TeacherAnswer:
        if answer.finish_reason == "scored":
            return answer
        names = ("token_ids", "token_logprobs", "topk_ids", "topk_logprobs", "tail_logprob")
        return replace(answer, finish_reason="stop", **{name: getattr(answer, name)[:length] for name in names})

    return end


@pytest.mark.parametrize("shift", [-1, 1])
def test_positions_shifted_by_one_are_refused(shift: int):
    with pytest.raises(HandshakeError, match="scored position 0 has token"):
        greet(StandInTeacher(shift=shift))


def test_a_teacher_that_does_not_write_greedily_is_refused():
    def second_best(answer: TeacherAnswer) -> TeacherAnswer:
        ids = answer.topk_ids.copy()
        ids[3, [0, 1]] = ids[3, [1, 0]]
        written = np.where(np.arange(len(answer)) == 3, -5, answer.token_logprobs).astype(np.float32)
        return replace(answer, topk_ids=ids, token_logprobs=written)

    with pytest.raises(HandshakeError, match=r"written position 3 .*\(1 of 32 positions disagree\)"):
        greet(StandInTeacher(second_best))


def lowered(by: float, positions: int | None = None) -> StandInTeacher:
    """A teacher that scores the first `positions`, or all, lower than it wrote them."""

    def lower(answer: TeacherAnswer) -> TeacherAnswer:
        lower = np.where(np.arange(len(answer)) < (positions or len(answer)), by, 0).astype(np.float32)
        scored = answer.finish_reason == "scored"
        return replace(answer, token_logprobs=answer.token_logprobs - lower) if scored else answer

    return StandInTeacher(lower)


def rounding(teacher: StandInTeacher) -> StandInTeacher:
    """It, with a card that says that it computes in bfloat16."""
    teacher.card["dtype"] = "bfloat16"
    return teacher


def test_logprobs_that_disagree_are_refused():
    with pytest.raises(HandshakeError, match=r"and scores it -.*, expected within 0.003"):
        greet(lowered(by=0.05))


def test_logprobs_may_differ_by_the_rounding_of_the_teachers_type():
    greet(lowered(by=0.0005))
    greet(rounding(lowered(by=0.05)))


def test_one_position_may_be_off_by_more_than_all_together_but_not_by_much():
    greet(rounding(lowered(by=0.2, positions=2)))
    with pytest.raises(HandshakeError, match=r"expected within 0.3; the root mean square over 32 positions is 0.0707"):
        greet(rounding(lowered(by=0.4, positions=1)))
    with pytest.raises(HandshakeError, match=r"root mean square over 32 positions is 0.1414, expected at most 0.1"):
        greet(rounding(lowered(by=0.2, positions=16)))


def tied(gap: float) -> StandInTeacher:
    """Scoring puts another token `gap` above the written one, where the written one is least likely."""

    def tie(answer: TeacherAnswer) -> TeacherAnswer:
        if answer.finish_reason != "scored":
            return answer
        ids, logprobs, tail = answer.topk_ids.copy(), answer.topk_logprobs.copy(), answer.tail_logprob.copy()
        at = int(answer.token_logprobs.argmin())
        ids[at, [0, 1]] = ids[at, [1, 0]]
        logprobs[at], tail[at] = -50, -np.inf
        logprobs[at, :2] = answer.token_logprobs[at] + gap, answer.token_logprobs[at]
        return replace(answer, topk_ids=ids, topk_logprobs=logprobs, tail_logprob=tail)

    return StandInTeacher(tie)


def test_ties_may_fall_either_way():
    greet(tied(gap=0.0005))
    with pytest.raises(HandshakeError, match=r"\(1 of 32 positions disagree\)"):
        greet(tied(gap=0.005))


def test_a_teacher_that_fails_the_probe_is_refused():
    with pytest.raises(HandshakeError, match="engine is out of memory"):
        greet(StandInTeacher(lambda answer: replace(answer, error="engine is out of memory")))


def test_an_answer_that_contradicts_itself_is_refused():
    with pytest.raises(HandshakeError, match="topk_ids has duplicates"):
        greet(StandInTeacher(lambda answer: replace(answer, topk_ids=np.zeros_like(answer.topk_ids))))
