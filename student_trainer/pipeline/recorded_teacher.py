"""Answers to single requests: recorded ones first, the live teacher's otherwise; none is used before it is verified."""

import logging
from typing import Protocol

from common import wire
from common.api import DistillRequest, TeacherCard
from common.calls import TeacherRefused
from common.errors import UserError
from common.verify import BadAnswer, verify
from student_trainer.data.plan import Kind
from student_trainer.record.store import Key, RecordReader, RecordWriter
from student_trainer.teacher.revisions import Revisions

ASKED_AT_MOST = 3
"""Times a request is sent while its answers are bad."""
BAD_ANSWER, FAILED = "answered badly", "failed"
"""How reasons begin that are not the teacher's own word."""
ABOUT_THE_PROMPT = (400, 413, 422)
"""Refusals that concern one prompt; any other concerns the whole run."""

log = logging.getLogger(__name__)


class PromptFailed(Exception):
    """One request can't be answered, by a teacher that answers others."""


class Teacher(Protocol):
    """What is asked of a live teacher, be it one address (`common/calls.py`) or several (`pool.py`)."""

    async def teacher(self) -> TeacherCard:
        """What it says about itself."""

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        """Its answers, in the request's order; PromptFailed where this request alone can't be answered."""


class Answers:
    """Answers from `record`, then from `teacher`, whichever are there, of `revisions` that the run takes.

    `rejected` counts answers of the teacher that could not be used.
    """

    def __init__(
        self,
        record: RecordReader | None,
        teacher: Teacher | None,
        writer: RecordWriter,
        vocabulary_size: int,
        revisions: Revisions,
    ) -> None:
        self._record, self._teacher, self._writer = record, teacher, writer
        self._vocabulary_size, self._revisions = vocabulary_size, revisions
        self.rejected = 0

    async def get(self, key: Key, request: DistillRequest) -> wire.TeacherAnswer:
        """The answer to the single sequence of `request`: verified, or with `error` saying why there is none.

        Raises UserError: TeacherUnavailable, a refusal that concerns the whole run, another revision of the teacher, a
        record without the answer.
        """
        answer = self._recorded(key, request)
        if answer is None:
            if self._teacher is None:
                raise UserError(
                    f"the record holds no answer for epoch {key.epoch}, position {key.position} "
                    f"({request.sequences[0].id}); set teacher.source: live+record to ask for what is missing"
                )
            answer = await self._ask(self._teacher, request)
            self._writer.append(key, request, answer)
        return answer

    def _recorded(self, key: Key, request: DistillRequest) -> wire.TeacherAnswer | None:
        answer = None if self._record is None else self._record.find(key, request)
        if answer is None:
            return None
        self._check_revision(answer)
        try:
            if answer.error is None:
                verify(answer, request, self._vocabulary_size)
        except BadAnswer as error:
            log.warning("left out of the record, as if missing: %s", error)
            return None
        return answer

    async def _ask(self, teacher: Teacher, request: DistillRequest) -> wire.TeacherAnswer:
        reason = ""
        for _ in range(ASKED_AT_MOST):
            try:
                (answer,) = await teacher.distill(request)
                self._check_revision(answer)
                if answer.error is None:
                    verify(answer, request, self._vocabulary_size)
                return answer
            except BadAnswer as error:
                reason = f"{BAD_ANSWER} {ASKED_AT_MOST} times; the last: {error}"
                self.rejected += 1
                log.warning("rejected, asking again: %s", error)
            except TeacherRefused as error:
                if error.status not in ABOUT_THE_PROMPT:
                    raise
                reason = str(error)
                break
            except PromptFailed as error:
                reason = f"{FAILED}: {error}"
                log.warning("%s is set aside: %s", request.sequences[0].id, error)
                break
        return self._failed(request, reason)

    def _check_revision(self, answer: wire.TeacherAnswer) -> None:
        if answer.error is None:
            self._revisions.check(answer.revision, answer.model)

    def _failed(self, request: DistillRequest, reason: str) -> wire.TeacherAnswer:
        id, revision = request.sequences[0].id, self._revisions.first or ""
        return wire.failed(id, request.model, revision, reason, request.top_k, request.logprob_dtype)


def kind_of(error: str) -> Kind:
    """What the `error` of an answer, recorded ones included, says of its prompt."""
    if error.startswith(BAD_ANSWER):
        return "bad_answer"
    return "failed" if error.startswith(f"{FAILED}: ") else "refused"
