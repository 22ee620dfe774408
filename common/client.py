"""The client of a teacher's HTTP API: tries again where that can help, and says everything else in one line."""

import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from common import wire
from common.api import DistillRequest, TeacherCard
from common.calls import LONGEST_WAIT_S, CallFailed, TeacherCalls
from common.calls import TeacherRefused as TeacherRefused
from common.calls import TeacherUnavailable as TeacherUnavailable
from common.errors import UserError

TOKEN_VARIABLE = "TOOLAGENT_KD_TOKEN"
FIRST_WAIT_S = 0.5
OVERLOAD_PATIENCE_S = 600.0
"""How long one call puts up with an overloaded teacher."""

T = TypeVar("T")


def read_token(token_file: Path | None) -> str:
    """The teacher's bearer token: from `token_file`, else from the environment variable TOOLAGENT_KD_TOKEN.

    Raises UserError when neither gives one.
    """
    if token_file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, ""), f"the environment variable {TOKEN_VARIABLE}"
    else:
        try:
            token, source = token_file.read_text(encoding="utf-8"), f"the token file {token_file}"
        except OSError as error:
            raise UserError(f"can't read the token file {token_file}: {error.strerror}") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{source} holds no usable token; expected one line of printable ASCII without spaces "
            f"(set token_file, or {TOKEN_VARIABLE})"
        )
    return token


class TeacherClient(TeacherCalls):
    """Asks the teacher at `base_url` (its route prefix included). Used as `async with TeacherClient(...) as teacher`.

    Connection errors, any 5xx, 408 and broken answers are tried again, `attempts` times in all, waiting as long as
    Retry-After says or exponentially longer. 429, or 503 with Retry-After, a busy teacher's word, is no attempt: it is
    put up with for OVERLOAD_PATIENCE_S. Scoring is idempotent, so trying again is safe.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        timeout_s: float = 120,
        attempts: int = 6,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, token, timeout_s, transport)
        self._attempts = attempts

    async def teacher(self) -> TeacherCard:
        """What the teacher says about itself.

        Raises TeacherUnavailable or TeacherRefused, both UserErrors.
        """
        return await self._retrying(super().teacher)

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        """The teacher's answers in the request's order, n samples after each other; look at `error` of each.

        Raises TeacherUnavailable or TeacherRefused, both UserErrors.
        """
        return await self._retrying(partial(super().distill, request))

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        patience, backoff = _Patience(self._attempts), Backoff()
        retrying = AsyncRetrying(stop=patience, wait=backoff, retry=retry_if_exception_type(CallFailed), reraise=True)
        try:
            return await retrying(call)
        except CallFailed as error:
            tried = f"{OVERLOAD_PATIENCE_S:.0f} s of overload" if error.overload else f"{self._attempts} attempts"
            raise TeacherUnavailable(
                f"no usable answer from the teacher at {self._base_url} in {tried}; the last: {error}"
            ) from None


class _Patience:
    """When one call gives up: overload is bounded by the time since its start, all other failures by their number."""

    def __init__(self, attempts: int) -> None:
        self._attempts_left = attempts

    def __call__(self, state: RetryCallState) -> bool:
        if failure_of(state).overload:
            return (state.seconds_since_start or 0) >= OVERLOAD_PATIENCE_S
        self._attempts_left -= 1
        return self._attempts_left <= 0


def failure_of(state: RetryCallState) -> CallFailed:
    """Why tenacity's last attempt failed."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CallFailed)
    return error


class Backoff:
    """The pauses of one request, in seconds: as long as Retry-After says, or else twice as long as the one before.

    With up to half of it more, so that not all clients come back at once. Overload is counted apart from failures: who
    was told to come back later many times hasn't failed often.
    """

    def __init__(self) -> None:
        self._next_s = {"overload": FIRST_WAIT_S, "failure": FIRST_WAIT_S}

    def __call__(self, state: RetryCallState) -> float:
        """The pause after tenacity's last attempt."""
        failure = failure_of(state)
        kind = "overload" if failure.overload else "failure"
        pause_s = failure.retry_after_s or self._next_s[kind]
        self._next_s[kind] = min(2 * self._next_s[kind], LONGEST_WAIT_S)
        return pause_s * random.uniform(1, 1.5)
