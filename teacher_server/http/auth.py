"""Bearer authentication around the whole application: default-deny, whatever routes are added later."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.http.api_keys import ApiKeys
from teacher_server.http.errors import ApiError

OPEN_PATHS = frozenset({"/healthz"})


class BearerAuth:
    """Lets a request pass that carries a client's API key, or asks for an open path; everything else is answered 401.

    The client's name is then in `scope["state"]["client"]`. Unknown paths are answered 401 too, so that a stranger
    learns nothing of the routes.
    """

    def __init__(self, app: ASGIApp, api_keys: ApiKeys) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_open(scope):
            await self._app(scope, receive, send)
        elif (client := self._client(scope)) is not None:
            scope.setdefault("state", {})["client"] = client
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _unauthorised().response()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _client(self, scope: Scope) -> str | None:
        scheme, _, key = Headers(scope=scope).get("Authorization", "").partition(" ")
        return self._api_keys.client_of(key) if scheme.lower() == "bearer" else None


def is_open(scope: Scope) -> bool:
    """Whether the path needs no API key."""
    return _path(scope) in OPEN_PATHS


def _path(scope: Scope) -> str:
    """The path within the application: ASGI's `path` includes the prefix it is mounted at."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(prefix) :] if path.startswith(prefix + "/") else path


def _unauthorised() -> ApiError:
    return ApiError(401, "invalid_token", "no valid token; send the header `Authorization: Bearer TOKEN`")
