"""The examination: against a teacher whose every answer is known."""

import asyncio

import pytest

from common.errors import UserError
from common.quality.examination import Examiner, Model
from common.quality.qualification import Figures
from common.teacher_client.failures import PromptFailed, TeacherUnavailable
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow
from tests.unit.common.quality.scripted import LONGEST, RENDERER, Scripted, make_row


def examine(
    teacher: Scripted, rows: list[PromptRow], student: Scripted | None = None, timeout_s: float | None = None
) -> Figures:
    asked = TeacherClientSettings(url="http://unused", model="expert", top_k=4, logprob_dtype="float32")
    other = Model(student, asked.model_copy(update={"model": "base"})) if student else None
    examiner = Examiner(Model(teacher, asked), other, RENDERER, LONGEST, 64, 2, timeout_s)
    return asyncio.run(examiner.examine(rows))


def test_each_row_is_written_and_scored():
    teacher, student = Scripted(), Scripted()
    figures = examine(teacher, [make_row("a"), make_row("b")], student)
    assert (figures.rows, figures.form, figures.known_api, figures.arguments) == (2, 1.0, 1.0, 1.0)
    assert figures.perplexity == pytest.approx(2.0)
    assert figures.calibration_error == pytest.approx(0.5)
    assert figures.overlap == pytest.approx(0.5, abs=0.01)
    written = [request.sequences[0].generate for request in teacher.requests if request.sequences[0].generate]
    assert [(options.temperature, options.max_tokens) for options in written] == [(0, 64)] * 2
    assert {request.model for request in student.requests} == {"base"}
    assert not any(request.sequences[0].generate for request in student.requests)


def test_a_teacher_that_writes_something_else_is_seen():
    figures = examine(Scripted(text='{"name": "go"}'), [make_row("a")])
    assert (figures.form, figures.arguments, figures.overlap) == (0.0, 0.0, None)


def test_rows_that_can_not_be_judged_are_left_out_by_name(caplog: pytest.LogCaptureFixture):
    rows = [make_row("good"), make_row("refused"), make_row("error"), make_row("long", "x" * LONGEST)]
    rows.append(make_row("foreign", system="Be brief."))
    odd: dict[str, Exception | str] = {"refused": PromptFailed("refused", "too long"), "error": "no such model"}
    figures = examine(Scripted(odd=odd), rows)
    assert (figures.rows, set(figures.left_out)) == (1, {"refused", "error", "long", "foreign"})
    assert figures.left_out["error"] == "expert refused it: no such model"
    assert "no readable list of APIs" in figures.left_out["foreign"]
    assert "the examination of expert leaves out refused: too long" in caplog.text


def test_what_takes_too_long_is_left_out():
    figures = examine(Scripted(odd={"slow": "silence"}), [make_row("slow"), make_row("good")], timeout_s=0.5)
    assert (figures.rows, figures.left_out) == (1, {"slow": "no answer within 0.5 s"})


def test_a_teacher_that_is_gone_ends_it():
    gone: dict[str, Exception | str] = {"b": TeacherUnavailable("gone"), "a": "silence"}
    with pytest.raises(UserError, match="gone"):
        examine(Scripted(odd=gone), [make_row("a"), make_row("b")])


def test_rows_without_completion_are_written_alone():
    figures = examine(Scripted(), [make_row("a", completion=None)], Scripted())
    assert (figures.rows, figures.arguments, figures.perplexity, figures.overlap) == (1, 1.0, None, None)
    assert examine(Scripted(), []).rows == 0
