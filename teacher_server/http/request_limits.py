"""What is checked of every request before a route sees it: headers, host and body."""

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.http import json_body
from teacher_server.http.auth import is_open
from teacher_server.http.errors import ApiError
from teacher_server.settings import LimitSettings

MAX_HEADER_BYTES = 16_384
"""Of all headers together, names and values."""
MAX_TARGET_BYTES = 4_096
"""Of path and query together."""
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:[]")


class RequestLimits:
    """Refuses what no route should have to look at, and hands on a whole, bounded body that may be JSON."""

    def __init__(self, app: ASGIApp, limits: LimitSettings) -> None:
        self._app = app
        self._hosts = limits.allowed_hosts
        self._max_body = json_body.max_body_bytes(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._checked_body(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
        except ClientDisconnect:
            return
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _checked_body(self, scope: Scope, receive: Receive) -> bytes:
        headers = Headers(scope=scope)
        _check_sizes(scope)
        json_body.check_headers(headers, self._max_body)
        if is_open(scope):  # probes ask by whatever address they know; a stranger's body is never waited for
            return b""
        _check_host(headers.getlist("Host"), self._hosts)
        body = await json_body.read(receive, headers, self._max_body)
        json_body.check_json(body, headers)
        return body


def _check_sizes(scope: Scope) -> None:
    """Raises ApiError when target (414) or headers (431) are longer than any client of ours needs."""
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
    if target > MAX_TARGET_BYTES:
        raise ApiError(414, "target_too_long", f"got a path and query of {target} bytes, expected {MAX_TARGET_BYTES}")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEADER_BYTES:
        raise ApiError(431, "headers_too_large", f"got {size} bytes of headers, expected at most {MAX_HEADER_BYTES}")


def _check_host(hosts: list[str], allowed: tuple[str, ...] | None) -> None:
    """Raises ApiError when a Host isn't well-formed or comes twice (400), or isn't among the `allowed` (421)."""
    host = hosts[0] if hosts else ""
    name, port = _split_port(host.lower())
    if len(hosts) > 1 or (hosts and not name) or not set(name) <= HOST_CHARACTERS or not (port or "0").isdecimal():
        got = ", ".join(hosts)[:80]
        raise ApiError(400, "invalid_host", f"got the Host {got!r}, expected one like teacher.example:8000")
    if allowed is not None and name not in allowed:
        raise ApiError(421, "unknown_host", f"got the Host {name[:80]!r}, which isn't among limits.allowed_hosts")


def _split_port(host: str) -> tuple[str, str]:
    """`name:port`, where an IPv6 address stands in brackets."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and not port.endswith("]") else (host, "")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and then waits for the client to go away."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
