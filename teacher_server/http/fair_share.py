"""How many requests one client may have in flight, so that none takes the whole replica."""

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.http.errors import ApiError
from teacher_server.settings import LimitSettings


class FairShare:
    """Refuses a client (429) that has `max_requests_per_client` requests in flight already."""

    def __init__(self, app: ASGIApp, limits: LimitSettings) -> None:
        self._app = app
        self._limits = limits
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        most, client = self._limits.max_requests_per_client, scope.get("state", {}).get("client")
        if most is None or client is None:
            await self._app(scope, receive, send)
            return
        if self._in_flight[client] >= most:
            message = f"the client {client!r} has {most} requests in flight, which is its share; wait for one to end"
            error = ApiError(429, "rate_limited", message, retry_after_s=self._limits.retry_after_s)
            await error.response()(scope, receive, send)
            return
        self._in_flight[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight[client] -= 1
