"""One endpoint of a teacher: its calls, and the circuit breaker that leaves it alone while it fails."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.api import DistillRequest, TeacherCard
from common.teacher_client.failures import CallFailed, NotATeacher, TeacherRefused, Unreachable
from common.teacher_client.protocol import Teacher
from common.wire import TeacherAnswer

FAILURES = 3
"""Failures in a row that open the breaker; one is enough before the first answer after a probe."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
PROBE_S = 10.0
"""Longest wait for a card."""
NOT_FOUND = 404
"""What a proxy answers while the application behind it is gone, or still coming up."""

Accept = Callable[[TeacherAnswer, DistillRequest, int], None]
"""Raises BadAnswer for an answer to a request that can't be used, given the teacher's vocabulary size."""


class CircuitBreaker:
    """Closed: requests flow. Open, as at first: none does, until a probe passes. Times are those of one clock."""

    def __init__(self) -> None:
        self.is_open = True
        self._failures = 0
        self._on_trial = True
        self._pauses = 0
        self._closed_at = 0.0

    def failed(self, began: float) -> bool:
        """Count the failure of a request sent at `began`; True when it opens the breaker.

        One that was sent before the last probe says nothing about the endpoint as it is now.
        """
        if self.is_open or began < self._closed_at:
            return False
        self._failures += 1
        self.is_open = self._on_trial or self._failures >= FAILURES
        return self.is_open

    def answered(self) -> None:
        """A request was answered: what failed before is forgotten."""
        if not self.is_open:
            self._failures = self._pauses = 0
            self._on_trial = False

    def close(self, now: float) -> None:
        """A probe passed: let requests flow, on trial."""
        self.is_open, self._on_trial, self._failures, self._closed_at = False, True, 0, now

    def next_pause_s(self) -> float:
        """Seconds before the next probe: twice as long each time, up to half of it left to chance."""
        longest = min(FIRST_PAUSE_S * 2.0**self._pauses, LONGEST_PAUSE_S)
        self._pauses += 1
        return longest * random.uniform(0.5, 1)


class Endpoint:
    """One endpoint, and how it does."""

    def __init__(self, url: str, teacher: Teacher, accept: Accept) -> None:
        self.url, self._teacher, self._accept = url, teacher, accept
        self.breaker = CircuitBreaker()
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
