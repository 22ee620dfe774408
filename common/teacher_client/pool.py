"""The teacher as its user sees it: one, whatever its endpoints do.

A request that fails is asked again, elsewhere if it can be, until it is clear whether the prompt or the teacher is at
fault: the prompt is, when it failed so many times and another request is answered after that. An answer that can't be
used is a failure like any other.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import cached_property, partial
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from common.api import DistillRequest, TeacherCard
from common.teacher_client.address import AddressedTeacher
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.endpoint import Accept, Endpoint
from common.teacher_client.endpoints import Check, Endpoints
from common.teacher_client.failures import (
    BadAnswer,
    CallFailed,
    FailureKind,
    Overloaded,
    PromptFailed,
    TeacherRefused,
    TeacherUnavailable,
    Unreachable,
)
from common.teacher_client.protocol import Teacher
from common.teacher_client.retry import Backoff, failure_of
from common.teacher_client.settings import TeacherClientSettings, read_token
from common.teacher_client.verify import verify
from common.wire import TeacherAnswer

ABOUT_THE_PROMPT = (400, 413, 422)
"""Refusals that concern one prompt; any other concerns whatever is asked."""

Counts = dict[str, float]
"""What went wrong and was overcome: `retries` (calls made again), `rejected` (answers that could not be used), `opened`
(times that an endpoint was left alone), `outage_s` (seconds without any endpoint that was well)."""
Connect = Callable[[TeacherClientSettings, str], AbstractAsyncContextManager[Teacher]]
"""Opens what asks the endpoint at one url of the settings, once per call."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def connect_http(settings: TeacherClientSettings, url: str) -> AsyncIterator[Teacher]:
    """What asks the endpoint at `url` over HTTP."""
    async with TeacherCalls(url, read_token(settings.token_file), settings.timeout_s) as calls:
        yield AddressedTeacher(calls, settings.model, settings.urls)


@asynccontextmanager
async def open_pool(
    settings: TeacherClientSettings, check: Check, connect: Connect = connect_http, accept: Accept = verify
) -> "AsyncIterator[TeacherPool]":
    """The teacher behind all of `settings.urls`; `meet` it before it is asked.

    `check` judges its cards, `accept` each of its answers.
    """
    async with AsyncExitStack() as stack:
        teachers = {url: await stack.enter_async_context(connect(settings, url)) for url in settings.urls}
        endpoints = Endpoints(teachers, check, accept, settings.patience_s)
        stack.push_async_callback(endpoints.aclose)
        yield TeacherPool(endpoints, settings.attempts, settings.patience_s)


class TeacherPool:
    """Asks whichever endpoint is well. Requests wait inside `distill` while none is, as long as patience lasts."""

    def __init__(self, endpoints: Endpoints, attempts: int, patience_s: float) -> None:
        self._endpoints, self._attempts, self._patience_s = endpoints, attempts, patience_s
        self._alone = asyncio.Lock()
        self._answered_at = -math.inf
        self._next_answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._retries = self._rejected = 0

    async def meet(self) -> None:
        """Return when an endpoint is well.

        Raises UserError: one doesn't fit, or none comes up as long as patience lasts.
        """
        await self._endpoints.meet()

    def counts(self) -> Counts:
        """What went wrong so far."""
        opened, outage_s = self._endpoints.times_opened, self._endpoints.outage_s()
        return {"retries": self._retries, "rejected": self._rejected, "opened": opened, "outage_s": outage_s}

    def replicas(self) -> int | None:
        """How many replicas answer, where every endpoint says so."""
        return self._endpoints.replicas()

    async def teacher(self) -> TeacherCard:
        """The card of an endpoint that is well. Raises CallFailed or UserError."""
        return await (await self._endpoints.choose({})).teacher()

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Its answers in the request's order. One that is asked again is asked elsewhere, if there is another endpoint.

        Raises PromptFailed when this request alone can't be answered; UserError: TeacherUnavailable, TeacherRefused
        where more than this request is at fault, or a teacher came up that doesn't fit.
        """
        try:
            return await self._persist(request, self._attempts)
        except TeacherRefused as error:
            if error.status not in ABOUT_THE_PROMPT:
                raise
            raise PromptFailed("refused", str(error)) from None
        except CallFailed as error:
            await self._wait_for_any_answer(error)
            kind: FailureKind = "bad_answer" if isinstance(error, BadAnswer) else "failed"
            raise PromptFailed(kind, f"no answer in {self._attempts} attempts; the last: {error}") from None

    async def _wait_for_any_answer(self, failure: CallFailed) -> None:
        """Return when the teacher answers something: what it answered before, if nothing else sooner."""
        proven = self._endpoints.proven()
        if proven is None:
            raise TeacherUnavailable(f"the teacher answers no request; the last: {failure}")
        asking = asyncio.create_task(self._persist(proven, math.inf))
        try:
            anything: list[asyncio.Future[Any]] = [asking, self._next_answer]
            await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                with suppress(TeacherRefused):
                    asking.result()
        finally:
            asking.cancel()

    async def _persist(self, request: DistillRequest, attempts: float) -> list[TeacherAnswer]:
        """Raises CallFailed when `attempts` of it failed, TeacherUnavailable when the teacher only says it is busy."""
        ask = _Persistent(attempts)
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
            endpoint = await self._endpoints.choose(ask.asked)
            ask.asked[endpoint] += 1
            answers = await self._endpoints.ask(endpoint, request)
        self._answered_at = _now()
        self._next_answer.set_result(None)
        self._next_answer = asyncio.get_running_loop().create_future()
        return answers

    def _gives_up(self, ask: "_Persistent", state: RetryCallState) -> bool:
        """After so many failures that the prompt may be to blame for; overload and an absent teacher aren't."""
        failure = failure_of(state)
        if isinstance(failure, BadAnswer):
            self._rejected += 1
            log.warning("rejected: %s", failure)
        if not isinstance(failure, Overloaded):
            ask.busy_since = None
            ask.failed += not isinstance(failure, Unreachable)
            return ask.failed >= ask.attempts
        ask.busy_since = ask.busy_since or _now()
        silent_s = _now() - max(ask.busy_since, self._answered_at)
        if silent_s > self._patience_s:
            raise TeacherUnavailable(
                f"the teacher has too much to do to answer anything for {silent_s:.0f} s ({failure}); start again when "
                "it has less: training goes on from its last checkpoint. patience_s says how long to wait"
            )
        return False

    def _wait_s(self, ask: "_Persistent", state: RetryCallState) -> float:
        return 0.0 if self._endpoints.has_other(ask.asked) else ask.backoff(state)

    def _count(self, state: RetryCallState) -> None:
        self._retries += 1


class _Persistent:
    """One request through all its attempts."""

    def __init__(self, attempts: float) -> None:
        self.asked: Counter[Endpoint] = Counter()
        """Who was asked how often."""
        self.attempts, self.failed = attempts, 0
        self.busy_since: float | None = None

    @cached_property
    def backoff(self) -> Backoff:
        """Its pauses."""
        return Backoff()

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what breaks the teacher: then it is asked while no other such request is."""
        return self.attempts < math.inf and 2 * self.failed >= self.attempts > 1


def _now() -> float:
    return asyncio.get_running_loop().time()
