"""One endpoint of the teacher: its calls, and how it does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from common.api import DistillRequest, TeacherCard
from common.calls import CallFailed, NotATeacher, TeacherRefused
from common.wire import TeacherAnswer
from student_trainer.pipeline.recorded_teacher import Teacher
from student_trainer.teacher.breaker import Breaker

PROBE_S = 10.0
"""Longest wait for a card."""
NOT_FOUND = 404
"""What a proxy answers while the application behind it is gone, or still coming up."""


class Endpoint:
    """One endpoint, and how it does."""

    def __init__(self, url: str, teacher: Teacher) -> None:
        self.url, self._teacher = url, teacher
        self.breaker = Breaker()
        self.trouble = "not asked yet"
        """What it said last that was no answer."""
        self.rests_until = 0.0
        self.in_flight = self.asked = 0
        self.proven: DistillRequest | None = None
        """The first request that it answered, which the alignment probe made: short, and known to be answerable."""
        self.replicas: int | None = None
        self._was_met = False

    async def teacher(self) -> TeacherCard:
        """Its card; raises CallFailed, or UserError: NotATeacher only where there never was one."""
        try:
            async with asyncio.timeout(PROBE_S):
                with _down_where_not_found():
                    card = await self._teacher.teacher()
        except TimeoutError:
            raise CallFailed(f"GET /v1/teacher got no answer in {PROBE_S:.0f} s") from None
        except NotATeacher as error:
            if not self._was_met:
                raise
            raise CallFailed(str(error)) from None
        self._was_met, self.replicas = True, card.replicas
        return card

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers; raises CallFailed or UserError."""
        self.in_flight += 1
        self.asked += 1
        try:
            with _down_where_not_found():
                answers = await self._teacher.distill(request)
        finally:
            self.in_flight -= 1
        self.proven = self.proven or request
        return answers


@contextmanager
def _down_where_not_found() -> Iterator[None]:
    try:
        yield
    except TeacherRefused as error:
        if error.status != NOT_FOUND:
            raise
        failure = CallFailed(str(error))
        failure.connected = False
        raise failure from None
