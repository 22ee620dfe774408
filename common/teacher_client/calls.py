"""Single calls of a teacher's HTTP API: one attempt each, and what can come of it."""

from copy import copy
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from common import wire
from common.api import DistillRequest, TeacherCard
from common.errors import UserError
from common.teacher_client.failures import (
    BadAnswer,
    CallFailed,
    EngineDown,
    NotATeacher,
    Overloaded,
    TeacherRefused,
    Unreachable,
)
from common.teacher_client.retry import LONGEST_WAIT_S

EXAMPLE_URL = "one like http://127.0.0.1:8000/teacher"
CONNECT_S = 10.0
"""Longest wait for a connection: a host that is gone doesn't refuse, it is silent."""
NO_ENGINE = ("engine_unavailable", "unavailable")
"""Codes of a teacher's 503 that say: not overloaded, but without an engine."""


class TeacherCalls:
    """Calls the teacher at `base_url`, its route prefix included. Used as `async with TeacherCalls(...) as teacher`."""

    def __init__(
        self, base_url: str, token: str, timeout_s: float = 120, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = _checked_url(base_url)
        # Not the environment's proxies: the token is for the teacher alone.
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S), pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),  # the window is the limit
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def at(self, base_url: str) -> Self:
        """The same client at another address; it closes with this one."""
        other = copy(self)
        other.base_url = base_url
        return other

    async def teacher(self) -> TeacherCard:
        """What the teacher says about itself.

        Raises CallFailed, or UserError: TeacherRefused, NotATeacher, or a card of another kind.
        """
        response = await self._send("GET", "/v1/teacher")
        try:
            return TeacherCard.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors()[0]
            detail = ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
            kind = NotATeacher if problem["type"] == "json_invalid" else UserError
            raise kind(f"{self.base_url}/v1/teacher isn't a teacher this client knows: {detail}") from None

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        """The teacher's answers in the request's order, n samples after each other; look at `error` of each.

        Raises CallFailed or TeacherRefused.
        """
        headers = {"Content-Type": "application/json"}
        body = request.model_dump_json(exclude_none=True)
        response = await self._send("POST", "/v1/distill", content=body, headers=headers)
        try:
            return _in_order(request, response.content)
        except wire.WireError as error:
            raise BadAnswer(str(error)) from None

    async def _send(
        self, method: str, path: str, content: str | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, self.base_url + path, content=content, headers=headers)
        except httpx.RequestError as error:
            kind = Unreachable if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else CallFailed
            raise kind(str(error) or type(error).__name__) from None
        if response.status_code >= 500 or response.status_code in (408, 429):
            raise _failure(response)
        if response.status_code != 200:
            raise TeacherRefused(response.status_code, _error_field(response, "message") or _beginning(response))
        return response


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise UserError(f"got the teacher's address {base_url!r} ({error}), expected {EXAMPLE_URL}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"got the teacher's address {base_url!r}, expected {EXAMPLE_URL}")
    return base_url.rstrip("/")


def _failure(response: httpx.Response) -> CallFailed:
    message = f"HTTP {response.status_code}: {_error_field(response, 'message') or _beginning(response)}"
    wait = response.headers.get("Retry-After", "")
    retry_after_s = min(float(wait), LONGEST_WAIT_S) if wait.isdecimal() else None
    if response.status_code != 429 and (response.status_code != 503 or retry_after_s is None):
        return CallFailed(message, retry_after_s)
    kind = EngineDown if _error_field(response, "code") in NO_ENGINE else Overloaded
    return kind(message, retry_after_s)


def _error_field(response: httpx.Response, name: str) -> str | None:
    """A field of an error in OpenAI's shape; None where the body is something else (proxies answer anything)."""
    try:
        return str(response.json()["error"][name])
    except (ValueError, KeyError, TypeError):
        return None


def _beginning(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:300] or "no further explanation"


def _in_order(request: DistillRequest, body: bytes) -> list[wire.TeacherAnswer]:
    received = list(wire.decode(body))
    answers = {answer.id: answer for answer in received}
    asked = [sample.id for sample in request.samples()]
    if answers.keys() != set(asked):
        missing, unknown = set(asked) - answers.keys(), answers.keys() - set(asked)
        raise wire.WireError(f"answers missing for {sorted(missing)[:5]}, never asked for {sorted(unknown)[:5]}")
    if len(received) != len(asked):
        raise wire.WireError(f"got {len(received)} answers to {len(asked)} sequences: some came twice")
    return [answers[id] for id in asked]
