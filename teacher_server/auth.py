"""Bearer authentication around the whole application: default-deny, whatever routes are added later."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.refusals import Refusal

OPEN_PATHS = frozenset({"/healthz"})


class BearerAuth:
    """Lets a request pass that carries the token, or asks for an open path; everything else is answered 401.

    Unknown paths are answered 401 too, so that a stranger learns nothing of the routes.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _path(scope) in OPEN_PATHS or self._is_authorised(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _unauthorised().response()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_authorised(self, scope: Scope) -> bool:
        got = Headers(scope=scope).get("Authorization", "")
        return hmac.compare_digest(got.encode(), self._expected)


def _path(scope: Scope) -> str:
    """The path within the application: ASGI's `path` includes the prefix it is mounted at."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(prefix) :] if path.startswith(prefix + "/") else path


def _unauthorised() -> Refusal:
    return Refusal(401, "invalid_token", "no valid token; send the header `Authorization: Bearer TOKEN`")
