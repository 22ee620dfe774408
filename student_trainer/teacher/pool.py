"""The teacher as the trainer sees it: one, whatever its endpoints do.

A request that fails is asked again, elsewhere if it can be, until it is clear whether the prompt or the teacher is at
fault: the prompt is, when it failed so many times and another request is answered after that.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from common.api import DistillRequest, TeacherCard
from common.calls import CallFailed, TeacherRefused
from common.client import Backoff, TeacherUnavailable, failure_of
from common.wire import TeacherAnswer
from student_trainer.distributed.stop import unless_stopped
from student_trainer.pipeline.recorded_teacher import PromptFailed, Teacher
from student_trainer.pipeline.teacher_news import Counts
from student_trainer.settings import TeacherSettings
from student_trainer.teacher.endpoint import Endpoint
from student_trainer.teacher.endpoints import Check, Endpoints

REMEMBERED = 1024
"""Prompts of which it is known who answered them last."""

Connect = Callable[[TeacherSettings], AbstractAsyncContextManager[Teacher]]
"""Opens what asks the one endpoint that the settings name, once per call."""


@asynccontextmanager
async def open_pool(
    settings: TeacherSettings, run_folder: Path, connect: Connect, check: Check
) -> "AsyncIterator[TeacherPool]":
    """The teacher behind all of `settings.urls`, when one of them is well and fits.

    Raises UserError: one doesn't fit, or none comes up within `settings.patience_s`; StopAsked while it waits for one.
    """
    async with AsyncExitStack() as stack:
        teachers = {
            url: await stack.enter_async_context(connect(settings.model_copy(update={"url": url})))
            for url in settings.urls
        }
        endpoints = Endpoints(teachers, check, settings.patience_s)
        stack.push_async_callback(endpoints.aclose)
        await unless_stopped(run_folder, endpoints.meet)
        yield TeacherPool(endpoints, settings.attempts, settings.patience_s)


class TeacherPool:
    """Asks whichever endpoint is well. Requests wait inside `distill` while none is, as long as patience lasts."""

    def __init__(self, endpoints: Endpoints, attempts: int, patience_s: float) -> None:
        self._endpoints, self._attempts, self._patience_s = endpoints, attempts, patience_s
        self._alone = asyncio.Lock()
        self._answered_at = -math.inf
        self._answered_by: OrderedDict[str, Endpoint] = OrderedDict()
        self._retries = self._garbled = 0

    def counts(self) -> Counts:
        """What went wrong so far."""
        opened, outage_s = self._endpoints.times_opened, self._endpoints.outage.seconds
        return {"retries": self._retries, "rejected": self._garbled, "opened": opened, "outage_s": outage_s}

    def replicas(self) -> int | None:
        """How many replicas answer, where every endpoint says so."""
        return self._endpoints.replicas()

    async def teacher(self) -> TeacherCard:
        """The card of an endpoint that is well. Raises CallFailed or UserError."""
        return await (await self._endpoints.choose({})).teacher()

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers in the request's order. One that is asked again is asked elsewhere, if there is another endpoint.

        Raises PromptFailed when this request alone can't be answered; UserError: TeacherUnavailable, TeacherRefused, or
        a teacher came up that doesn't fit the run.
        """
        try:
            return await self._persist(request, self._attempts)
        except CallFailed as error:
            await self._wait_for_any_answer(_now(), error)
            raise PromptFailed(f"no answer in {self._attempts} attempts; the last: {error}") from None

    async def _wait_for_any_answer(self, since: float, failure: CallFailed) -> None:
        """Return when the teacher answered something after `since`: what it answered before, if nothing else."""
        proven = self._endpoints.proven()
        if proven is None:
            raise TeacherUnavailable(f"the teacher answers no request; the last: {failure}")
        if self._answered_at <= since:
            with suppress(TeacherRefused):
                await self._persist(proven, math.inf)

    async def _persist(self, request: DistillRequest, attempts: float) -> list[TeacherAnswer]:
        """Raises CallFailed when `attempts` of it failed, TeacherUnavailable when the teacher only says it is busy."""
        ask = _Persistent(attempts, self._answered_by.get(request.sequences[0].id))
        retrying = AsyncRetrying(
            stop=partial(self._gives_up, ask),
            wait=partial(self._wait_s, ask),
            retry=retry_if_exception_type(CallFailed),
            before_sleep=self._count,
            reraise=True,
        )
        return await retrying(self._attempt, request, ask)

    async def _attempt(self, request: DistillRequest, ask: "_Persistent") -> list[TeacherAnswer]:
        async with self._alone if ask.is_suspect else nullcontext():
            endpoint = await self._endpoints.choose(ask.failures)
            ask.failures[endpoint] += 1
            answers = await self._endpoints.ask(endpoint, request)
        self._answered_at = _now()
        self._answered_by[request.sequences[0].id] = endpoint
        if len(self._answered_by) > REMEMBERED:
            self._answered_by.popitem(last=False)
        return answers

    def _gives_up(self, ask: "_Persistent", state: RetryCallState) -> bool:
        """After so many failures that the prompt may be to blame for; overload and an absent teacher aren't."""
        failure = failure_of(state)
        if not failure.busy:
            ask.busy_since = None
            ask.failed += failure.connected
            return ask.failed >= ask.attempts
        ask.busy_since = ask.busy_since or _now()
        silent_s = _now() - max(ask.busy_since, self._answered_at)
        if silent_s > self._patience_s:
            raise TeacherUnavailable(
                f"the teacher has too much to do to answer anything for {silent_s:.0f} s ({failure}); start the run "
                "again when it has less: it goes on from its last checkpoint. teacher.patience_s says how long to wait"
            )
        return False

    def _wait_s(self, ask: "_Persistent", state: RetryCallState) -> float:
        return 0.0 if self._endpoints.has_other(ask.failures) else ask.backoff(state)

    def _count(self, state: RetryCallState) -> None:
        self._retries += 1
        self._garbled += failure_of(state).garbled


class _Persistent:
    """One request through all its attempts."""

    def __init__(self, attempts: float, answered_by: Endpoint | None) -> None:
        self.failures = Counter([answered_by] if answered_by else [])
        """Who was asked how often; an answer that is asked for again was no good."""
        self.attempts, self.failed, self.backoff = attempts, 0, Backoff()
        self.busy_since: float | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what breaks the teacher: then it is asked while no other such request is."""
        return self.attempts < math.inf and 2 * self.failed >= self.attempts > 1


def _now() -> float:
    return asyncio.get_running_loop().time()
