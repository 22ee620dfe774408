"""Counts every request from outside the application, so that refused ones are counted too, whatever refused them."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.metrics import Recorder

NOBODY = "-"
"""The client's name where no valid token came."""
OTHER = "other"
"""The path of requests that no route took: paths of strangers must not become metrics."""
CLIENT_GONE = 499
"""The status of requests whose client left before any answer."""


class Metering:
    """Reads what inner parts leave in `scope["state"]`: `client`, the token's name, and `refused`, the error's code."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        sent, status = 0, 0  # an error that nobody answered gets its 500 outside of this layer

        async def counting(message: Message) -> None:
            nonlocal sent, status
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:  # whatever it was, it is counted and goes on
            status = status or 500
            state.setdefault("refused", "internal_error")
            raise
        finally:
            self._count(scope, state.get("client", NOBODY), state.get("refused"), status, sent)

    def _count(self, scope: Scope, client: str, refused: str | None, status: int, sent: int) -> None:
        path = getattr(scope.get("route"), "path", OTHER)
        self._recorder.record("teacher_requests", 1, client=client, path=path, status=str(status or CLIENT_GONE))
        if refused is not None:
            self._recorder.record("teacher_refused", 1, client=client, reason=refused)
        if sent:
            self._recorder.record("teacher_bytes_sent", sent, client=client, path=path)
