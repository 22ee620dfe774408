"""The endpoints of one teacher: which of them are well, and which is asked next.

Each endpoint has a circuit breaker. While a breaker is open its endpoint is probed, and requests flow again once its
card still fits and it answers a request that it answered before. The probe asks nothing new, so an outage ends when the
teacher is well, and a prompt that no teacher can answer never prolongs one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from common.api import DistillRequest, TeacherCard
from common.teacher_client.endpoint import Accept, Endpoint
from common.teacher_client.failures import CallFailed, Overloaded, TeacherRefused
from common.teacher_client.outage import Outage
from common.teacher_client.protocol import Teacher
from common.wire import TeacherAnswer

Check = Callable[[str, Teacher, TeacherCard, str | None], Awaitable[None]]
"""Raises UserError unless the teacher at a url, with such a card, fits the run; given the revision of an answer that
made it necessary to look again, if one did."""

log = logging.getLogger(__name__)


class Endpoints:
    """All endpoints: `teachers` by url. Call `meet` before anything else, and `aclose` whatever comes of it."""

    def __init__(self, teachers: Mapping[str, Teacher], check: Check, accept: Accept, patience_s: float) -> None:
        self._all = [Endpoint(url, teacher, accept) for url, teacher in teachers.items()]
        self._check = check
        self.outage = Outage(patience_s, self._troubles)
        self.times_opened = 0
        self._known: set[tuple[str, str]] = set()
        self._looking_again = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def meet(self) -> None:
        """Ask all for their cards; return when one is well. Those that are down are met when they come up.

        Raises UserError for one that doesn't fit, TeacherUnavailable when none comes up.
        """
        met = await asyncio.gather(*map(self._try_to_greet, self._all), return_exceptions=True)
        for error in met:
            if error is not None:
                raise error
        for endpoint in self._all:
            if endpoint.breaker.is_open:
                self._leave_alone(endpoint)
        await self.choose({})

    async def aclose(self) -> None:
        """End all probing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def choose(self, failures: Mapping[Endpoint, int]) -> Endpoint:
        """Who is asked next: one that failed least in `failures`, has no need of rest, and has least to do.

        Waits while none is well. Raises UserError: patience ended, or a teacher came up that doesn't fit.
        """
        while self._error is None:
            now = _now()
            if well := [endpoint for endpoint in self._all if not endpoint.breaker.is_open]:
                return min(well, key=lambda e: (failures.get(e, 0), e.rests_until > now, e.in_flight, e.asked))
            await self.outage.wait()
        raise self._error

    def has_other(self, failures: Mapping[Endpoint, int]) -> bool:
        """Whether an endpoint outside `failures` can be asked at once."""
        ready = (e for e in self._all if not e.breaker.is_open and e.rests_until <= _now())
        return any(endpoint not in failures for endpoint in ready)

    def replicas(self) -> int | None:
        """Of all of them, as their cards say; None where one doesn't."""
        each = [endpoint.card.replicas if endpoint.card else None for endpoint in self._all]
        return None if None in each else sum(filter(None, each))

    def proven(self) -> DistillRequest | None:
        """A request that was answered."""
        return next((endpoint.proven for endpoint in self._all if endpoint.proven), None)

    async def ask(self, endpoint: Endpoint, request: DistillRequest) -> list[TeacherAnswer]:
        """Ask `endpoint` once; it is looked at again when an answer is of a revision not seen so far.

        Raises CallFailed or UserError.
        """
        began = _now()
        try:
            answers = await endpoint.distill(request)
            await self._look_again(endpoint, request.model, answers)
        except CallFailed as error:
            self._note_failure(endpoint, error, began)
            raise
        except TeacherRefused:
            endpoint.breaker.answered()
            raise
        endpoint.breaker.answered()
        self.outage.silent_since = None
        return answers

    async def _look_again(self, endpoint: Endpoint, model: str, answers: list[TeacherAnswer]) -> None:
        new = {a.revision for a in answers if a.error is None and a.model == model}
        if all((model, revision) in self._known for revision in new):
            return
        async with self._looking_again:
            for revision in sorted(new):
                if (model, revision) not in self._known:
                    await self._greet(endpoint, revision)
                    self._known.add((model, revision))

    async def _greet(self, endpoint: Endpoint, revision: str | None = None) -> None:
        card = await endpoint.teacher()
        await self._check(endpoint.url, endpoint, card, revision)
        self._known |= {(model.name, model.revision) for model in card.models}

    async def _try_to_greet(self, endpoint: Endpoint) -> None:
        """Close the breaker if the endpoint's card fits and it answers; UserError if it doesn't fit."""
        try:
            answers = await self._answers(endpoint)
        except CallFailed as error:
            endpoint.trouble = str(error)
            return
        endpoint.breaker.close(_now())
        self.outage.end(endpoint.url)
        if answers:
            self.outage.silent_since = None

    async def _answers(self, endpoint: Endpoint) -> bool:
        """Whether it answers what it answered before: False where it is only too busy.

        Raises CallFailed where not; UserError if its card doesn't fit.
        """
        proven = endpoint.proven
        await self._greet(endpoint)
        try:
            if proven is not None:
                await endpoint.distill(proven)
        except CallFailed as error:
            if not isinstance(error, Overloaded):
                raise
            return False
        return True

    def _note_failure(self, endpoint: Endpoint, error: CallFailed, began: float) -> None:
        endpoint.trouble = str(error)
        if isinstance(error, Overloaded):
            endpoint.rests_until = _now() + (error.retry_after_s or 0)
        elif endpoint.breaker.failed(began):
            self.times_opened += 1
            self._leave_alone(endpoint)

    def _leave_alone(self, endpoint: Endpoint) -> None:
        """Probe `endpoint` until it is well; where none is left, the outage begins."""
        self._start(self._heal(endpoint))
        if all(each.breaker.is_open for each in self._all):
            if self.outage.begin():
                self._start(self.outage.count_down())
        else:
            log.warning("%s is left alone until it is well: %s", endpoint.url, endpoint.trouble)

    async def _heal(self, endpoint: Endpoint) -> None:
        while endpoint.breaker.is_open:
            await asyncio.sleep(endpoint.breaker.next_pause_s())
            await self._try_to_greet(endpoint)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What a task of ours raised is for the next who asks."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()
            self.outage.let_go()

    def _troubles(self) -> str:
        return "; ".join(f"{endpoint.url}: {endpoint.trouble}" for endpoint in self._all)


def _now() -> float:
    return asyncio.get_running_loop().time()
