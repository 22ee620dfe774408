"""The client of a teacher's HTTP API: tries again where that can help, and says everything else in one line."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from common import wire
from common.api import DistillRequest, TeacherCard
from common.errors import UserError

TOKEN_VARIABLE = "TOOLAGENT_KD_TOKEN"
LONGEST_WAIT_S = 30.0

T = TypeVar("T")


class TeacherUnavailable(UserError):
    """The teacher couldn't be reached, or kept failing, through every attempt."""


class TeacherRefused(UserError):
    """The teacher answered that the request itself is wrong (a 4xx): trying again would change nothing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the teacher refused the request ({status}): {message}")
        self.status = status


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

    Connection errors, any 5xx, 408 and broken answers are tried again, `attempts` times in all, waiting as long as
    Retry-After says or exponentially longer. Scoring is idempotent, so trying again is safe.
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
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s, transport=transport
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
        """The teacher's answers, one per sequence, in the request's order; look at `error` of each.

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
        if response.status_code >= 500 or response.status_code == 408:
            raise _Transient(f"HTTP {response.status_code}: {_message(response)}", _retry_after_s(response))
        if response.status_code != 200:
            raise TeacherRefused(response.status_code, _message(response))
        return response

    async def _retrying(self, ask: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=_wait_s,
            retry=retry_if_exception_type((httpx.TransportError, wire.WireError, _Transient)),
            reraise=True,
        )
        try:
            return await retrying(ask)
        except (httpx.TransportError, wire.WireError, _Transient) as error:
            reason = str(error) or type(error).__name__
            tried = f"no usable answer from the teacher at {self._base_url} in {self._attempts} attempts"
            raise TeacherUnavailable(f"{tried}; the last: {reason}") from None


def _checked_url(base_url: str) -> str:
    if not base_url.startswith(("http://", "https://")):
        raise UserError(f"got the teacher's address {base_url!r}, expected one like http://127.0.0.1:8000/teacher")
    return base_url.rstrip("/")


class _Transient(Exception):
    """An answer that a healthy teacher wouldn't give, and how long it asked to be left alone."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, _Transient) else None
    return _backoff_s(state) if asked is None else asked


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
    asked = [sequence.id for sequence in request.sequences]
    if answers.keys() != set(asked):
        missing, unknown = set(asked) - answers.keys(), answers.keys() - set(asked)
        raise wire.WireError(f"answers missing for {sorted(missing)[:5]}, never asked for {sorted(unknown)[:5]}")
    return [answers[id] for id in asked]
