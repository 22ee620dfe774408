"""One endpoint of a teacher: its calls, and how it does."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.api import DistillRequest, TeacherCard
from common.teacher_client.circuit_breaker import Breaker
from common.teacher_client.failures import CallFailed, NotATeacher, TeacherRefused, Unreachable
from common.teacher_client.protocol import Teacher
from common.wire import TeacherAnswer

PROBE_S = 10.0
"""Longest wait for a card."""
NOT_FOUND = 404
"""What a proxy answers while the application behind it is gone, or still coming up."""

Accept = Callable[[TeacherAnswer, DistillRequest, int], None]
"""Raises BadAnswer for an answer to a request that can't be used, given the teacher's vocabulary size."""


class Endpoint:
    """One endpoint, and how it does."""

    def __init__(self, url: str, teacher: Teacher, accept: Accept) -> None:
        self.url, self._teacher, self._accept = url, teacher, accept
        self.breaker = Breaker()
        self.trouble = "not asked yet"
        """What it said last that was no answer."""
        self.rests_until = 0.0
        self.in_flight = self.asked = 0
        self.proven: DistillRequest | None = None
        """The first request that it answered, which the alignment probe made: short, and known to be answerable."""
        self.card: TeacherCard | None = None
        """The last that it showed; it was met where there is one."""

    async def teacher(self) -> TeacherCard:
        """Its card; raises CallFailed, or UserError: NotATeacher only where there never was one."""
        try:
            async with asyncio.timeout(PROBE_S):
                with _down_where_not_found():
                    card = await self._teacher.teacher()
        except TimeoutError:
            raise CallFailed(f"GET /v1/teacher got no answer in {PROBE_S:.0f} s") from None
        except NotATeacher as error:
            if self.card is None:
                raise
            raise CallFailed(str(error)) from None
        self.card = card
        return card

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers, accepted; raises CallFailed, which BadAnswer is, or UserError."""
        self.in_flight += 1
        self.asked += 1
        try:
            with _down_where_not_found():
                answers = await self._teacher.distill(request)
        finally:
            self.in_flight -= 1
        assert self.card is not None, "an endpoint is met before it is asked"
        for answer in answers:
            if answer.error is None:
                self._accept(answer, request, self.card.vocabulary_size)
        self.proven = self.proven or request
        return answers


@contextmanager
def _down_where_not_found() -> Iterator[None]:
    try:
        yield
    except TeacherRefused as error:
        if error.status != NOT_FOUND:
            raise
        raise Unreachable(str(error)) from None
