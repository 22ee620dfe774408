"""Answers to single requests: recorded ones first, the live teacher's otherwise; none is used before it is verified."""

import logging
from typing import Protocol

from common import wire
from common.api import DistillRequest, TeacherCard
from common.client import TeacherRefused
from common.errors import UserError
from common.verify import BadAnswer, verify
from student_trainer.record import Key, RecordReader, RecordWriter

ASKED_AT_MOST = 3
"""Times a request is sent while its answers are bad."""
ABOUT_THE_PROMPT = (400, 413, 422)
"""Refusals that concern one prompt; any other concerns the whole run."""

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """What is asked of a live teacher, as `common.client.TeacherClient` does it."""

    async def teacher(self) -> TeacherCard:
        """What it says about itself."""

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        """Its answers, in the request's order."""


class Answers:
    """Answers from `record`, then from `teacher`, whichever are there; all of one `revision`, the first's if None."""

    def __init__(
        self,
        record: RecordReader | None,
        teacher: Teacher | None,
        writer: RecordWriter,
        vocabulary_size: int,
        revision: str | None,
    ) -> None:
        self._record, self._teacher, self._writer = record, teacher, writer
        self._vocabulary_size, self._revision = vocabulary_size, revision

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
                reason = f"answered badly {ASKED_AT_MOST} times; the last: {error}"
                log.warning("rejected, asking again: %s", error)
            except TeacherRefused as error:
                if error.status not in ABOUT_THE_PROMPT:
                    raise
                reason = str(error)
                break
        return self._failed(request, reason)

    def _check_revision(self, answer: wire.TeacherAnswer) -> None:
        if answer.error is not None:
            return
        self._revision = self._revision or answer.revision
        if answer.revision != self._revision:
            raise UserError(
                f"got an answer of revision {answer.revision} of {answer.model}, the run began with {self._revision}; "
                "start again from the last checkpoint with teacher.source: live, or serve the first revision again"
            )

    def _failed(self, request: DistillRequest, reason: str) -> wire.TeacherAnswer:
        id, revision = request.sequences[0].id, self._revision or ""
        return wire.failed(id, request.model, revision, reason, request.top_k, request.logprob_dtype)
