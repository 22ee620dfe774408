"""One line per request: who asked what, how it ended and what it took. No token, no query, no prompt.

client=trainer method=POST path=/teacher/v1/distill status=200 ms=12.3 bytes=3456 sequences=2 code=-
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.engine.metrics import Recorder

logger = logging.getLogger("teacher_server.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_PATH = 200
NOBODY = "-"
"""The client's name where no valid token came."""
OTHER = "other"
"""The route of requests that none took: paths of strangers must not become metrics."""
CLIENT_WENT_AWAY = 499
"""The status of a request whose client was gone before its answer was complete, as proxies log it."""


@dataclass
class Access:
    """What is known of one request; `milliseconds` and `bytes` grow until its answer is complete."""

    client: str
    """Name of the token, or NOBODY."""
    method: str
    path: str
    route: str
    """The path as it was declared; "other" where no route took the request."""
    status: int
    milliseconds: float
    bytes: int
    """Of the answer's body."""
    sequences: int | None
    code: str | None
    """The refusal's, when it was refused."""

    def line(self) -> str:
        """The access log's line: nothing in it is the client's own words, but the path in percent encoding."""
        sequences = "-" if self.sequences is None else str(self.sequences)
        return (
            f"client={self.client} method={self.method} path={self.path} status={self.status} "
            f"ms={self.milliseconds:.1f} bytes={self.bytes} sequences={sequences} code={self.code or '-'}"
        )


def write_line(access: Access) -> None:
    """Log the request."""
    logger.info("%s", access.line())


def log_and_count(recorder: Recorder) -> Callable[[Access], None]:
    """An observer for the access log that writes its line and counts the request."""

    def observe(access: Access) -> None:
        write_line(access)
        client, route = access.client, access.route
        recorder.record("teacher_requests", 1, client=client, path=route, status=str(access.status))
        if access.code is not None:
            recorder.record("teacher_refused", 1, client=client, reason=access.code)
        if access.bytes:
            recorder.record("teacher_bytes_sent", access.bytes, client=client, path=route)

    return observe


class AccessLog:
    """Tells `observe` of every request when it ends, however it ends; an answer that streams ends with its last part.

    It stands outside of the application, so that it sees what any layer refused.

    `client`, `sequences` and `error_code` are read from `scope["state"]`, where inner layers leave them.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[Access], None] = write_line) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        started, status, size, complete = time.perf_counter(), 500, 0, False

        async def counting_send(message: Message) -> None:
            nonlocal status, size, complete
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                complete = not message.get("more_body", False)

        failed = False
        try:
            await self._app(scope, receive, counting_send)
        except Exception:  # whatever it was, it is logged and goes on
            failed = True
            raise
        finally:
            self._observe(
                Access(
                    client=state.get("client", NOBODY),
                    method=scope["method"] if scope["method"] in METHODS else "OTHER",
                    path=quote(scope["path"][:MAX_PATH], safe="/-._~"),
                    route=getattr(scope.get("route"), "path", OTHER),
                    status=status if complete else 500 if failed else CLIENT_WENT_AWAY,
                    milliseconds=(time.perf_counter() - started) * 1000,
                    bytes=size,
                    sequences=state.get("sequences"),
                    code="internal_error" if failed else state.get("error_code"),
                )
            )


def log_to_stderr() -> None:
    """Show the access log on this process's standard error, which Ray keeps among its logs."""
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s access %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
