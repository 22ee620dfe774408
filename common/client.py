"""The client of a teacher's HTTP API: tries again where that can help, and says everything else in one line."""

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from common import wire
from common.api import DistillRequest, TeacherCard
from common.errors import UserError

TOKEN_VARIABLE = "TOOLAGENT_KD_TOKEN"
EXAMPLE_URL = "one like http://127.0.0.1:8000/teacher"
LONGEST_WAIT_S = 30.0
OVERLOAD_PATIENCE_S = 600.0
"""How long one call puts up with an overloaded teacher."""

T = TypeVar("T")


class TeacherUnavailable(UserError):
    """The teacher couldn't be reached, or kept failing, through every attempt."""


class TeacherRefused(UserError):
    """The teacher answered that the request itself is wrong (a 4xx): trying again would change nothing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)  # what pickle makes it anew from, on its way out of a Ray worker
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"the teacher refused the request ({self.status}): {self.message}"


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


class TeacherClient:
    """Asks the teacher at `base_url` (its route prefix included). Used as `async with TeacherClient(...) as teacher`.

    Connection errors, any 5xx, 408, 429 and broken answers are tried again, `attempts` times in all, waiting as long as
    Retry-After says or exponentially longer. A 503 or 429 with Retry-After, a busy teacher's word, is no attempt: it is
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
        self._base_url = _checked_url(base_url)
        self._attempts = attempts
        # Not the environment's proxies: the token is for the teacher alone.
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s, transport=transport, trust_env=False
        )

    async def __aenter__(self) -> "TeacherClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def teacher(self) -> TeacherCard:
        """What the teacher says about itself.

        Raises TeacherUnavailable or TeacherRefused, both UserErrors.
        """
        return await self._retrying(self._ask_card)

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        """The teacher's answers in the request's order, n samples after each other; look at `error` of each.

        Raises TeacherUnavailable or TeacherRefused, both UserErrors.
        """

        async def ask() -> list[wire.TeacherAnswer]:
            body = request.model_dump_json(exclude_none=True)
            headers = {"Content-Type": "application/json"}
            response = await self._send("POST", "/v1/distill", content=body, headers=headers)
            return _in_order(request, response.content)

        return await self._retrying(ask)

    async def _ask_card(self) -> TeacherCard:
        response = await self._send("GET", "/v1/teacher")
        try:
            return TeacherCard.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors()[0]
            detail = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            raise UserError(f"{self._base_url}/v1/teacher isn't a teacher this client knows: {detail}") from None

    async def _send(
        self, method: str, path: str, content: str | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        response = await self._http.request(method, self._base_url + path, content=content, headers=headers)
        if response.status_code >= 500 or response.status_code in (408, 429):
            raise _Transient(response)
        if response.status_code != 200:
            raise TeacherRefused(response.status_code, _message(response))
        return response

    async def _retrying(self, ask: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            stop=_Patience(self._attempts),
            wait=_wait_s,
            retry=retry_if_exception_type((httpx.TransportError, wire.WireError, _Transient)),
            reraise=True,
        )
        try:
            return await retrying(ask)
        except (httpx.TransportError, wire.WireError, _Transient) as error:
            reason = str(error) or type(error).__name__
            tried = f"{OVERLOAD_PATIENCE_S:.0f} s of overload" if _is_overload(error) else f"{self._attempts} attempts"
            raise TeacherUnavailable(
                f"no usable answer from the teacher at {self._base_url} in {tried}; the last: {reason}"
            ) from None


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise UserError(f"got the teacher's address {base_url!r} ({error}), expected {EXAMPLE_URL}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"got the teacher's address {base_url!r}, expected {EXAMPLE_URL}")
    return base_url.rstrip("/")


class _Transient(Exception):
    """An answer that a healthy teacher wouldn't give, and how long it asked to be left alone."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"HTTP {response.status_code}: {_message(response)}")
        self.retry_after_s = _retry_after_s(response)
        self.overload = response.status_code in (429, 503) and self.retry_after_s is not None


def _is_overload(error: BaseException | None) -> bool:
    return isinstance(error, _Transient) and error.overload


class _Patience:
    """When one call gives up: overload is bounded by the time since its start, all other failures by their number."""

    def __init__(self, attempts: int) -> None:
        self._attempts_left = attempts

    def __call__(self, state: RetryCallState) -> bool:
        if _is_overload(state.outcome.exception() if state.outcome else None):
            return (state.seconds_since_start or 0) >= OVERLOAD_PATIENCE_S
        self._attempts_left -= 1
        return self._attempts_left <= 0


def _wait_s(state: RetryCallState) -> float:
    """Retry-After with up to a quarter more, so that refused clients don't all come back at once; else the backoff."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, _Transient) else None
    return _backoff_s(state) if asked is None else asked * random.uniform(1, 1.25)


_backoff_s = wait_exponential_jitter(multiplier=0.5, max=LONGEST_WAIT_S, jitter=0.5)


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_S) if text.isdecimal() else None


def _message(response: httpx.Response) -> str:
    """The error's text: OpenAI's shape where the body has it, else the body's beginning (proxies answer anything)."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:300] or "no further explanation"


def _in_order(request: DistillRequest, body: bytes) -> list[wire.TeacherAnswer]:
    answers = {answer.id: answer for answer in wire.decode(body)}
    asked = [sample.id for sample in request.samples()]
    if answers.keys() != set(asked):
        missing, unknown = set(asked) - answers.keys(), answers.keys() - set(asked)
        raise wire.WireError(f"answers missing for {sorted(missing)[:5]}, never asked for {sorted(unknown)[:5]}")
    return [answers[id] for id in asked]
