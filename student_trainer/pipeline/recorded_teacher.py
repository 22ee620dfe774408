"""Answers to single requests: recorded ones first, the live teacher's otherwise; none is used before it is verified."""

import logging

from common import wire
from common.api import DistillRequest
from common.errors import UserError
from common.teacher_client.failures import BadAnswer, PromptFailed
from common.teacher_client.handshake import Revisions
from common.teacher_client.protocol import Teacher
from common.teacher_client.verify import verify
from student_trainer.data.plan import Key
from student_trainer.record.store import RecordedAnswer, RecordReader, RecordWriter

log = logging.getLogger(__name__)


class RecordedTeacher:
    """Answers from `record`, then from `teacher`, whichever are there, of `revisions` that the run takes.

    `teacher` verifies what it gives; recorded answers are verified here.
    """

    def __init__(
        self,
        record: RecordReader | None,
        teacher: Teacher | None,
        writer: RecordWriter,
        revisions: Revisions,
    ) -> None:
        self._record, self._teacher, self._writer = record, teacher, writer
        self._revisions = revisions

    async def get(self, key: Key, request: DistillRequest) -> wire.TeacherAnswer:
        """The answer to the single sequence of `request`, verified.

        Raises PromptFailed where there is none, now or when it was recorded; UserError: TeacherUnavailable, a refusal
        that concerns the whole run, another revision of the teacher, a record without the answer.
        """
        entry = self._recorded(key, request)
        if entry is None:
            return await self._ask(key, request)
        if entry.failure is not None:
            raise PromptFailed(entry.failure, entry.answer.error or "")
        return entry.answer

    def _recorded(self, key: Key, request: DistillRequest) -> RecordedAnswer | None:
        entry = None if self._record is None else self._record.find(key, request)
        if entry is None or entry.failure is not None:
            return entry
        self._revisions.check(entry.answer.revision, entry.answer.model)
        try:
            verify(entry.answer, request)
        except BadAnswer as error:
            log.warning("left out of the record, as if missing: %s", error)
            return None
        return entry

    async def _ask(self, key: Key, request: DistillRequest) -> wire.TeacherAnswer:
        """The live teacher's answer, recorded; also recorded is that there is none."""
        (sequence,) = request.sequences
        if self._teacher is None:
            raise UserError(
                f"the record holds no answer for epoch {key.epoch}, index {key.index} ({sequence.id}); set "
                "teacher.source: live+record to ask for what is missing"
            )
        try:
            (answer,) = await self._teacher.distill(request)
            if answer.error is not None:
                raise PromptFailed("refused", answer.error)
        except PromptFailed as failure:
            log.warning("%s is set aside: %s", sequence.id, failure)
            revision, top_k, dtype = self._revisions.first or "", request.top_k, request.logprob_dtype
            failed = wire.failed(sequence.id, request.model, revision, failure.reason, top_k, dtype)
            self._writer.append(key, request, failed, failure.kind)
            raise
        self._writer.append(key, request, answer)
        return answer
