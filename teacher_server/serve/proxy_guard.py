"""What we put around Serve's own HTTP proxies.

Their two routes that ask for no API key, /-/routes and /-/healthz, are closed, and a request to an application that
failed to deploy gets an answer.

Serve calls `middlewares` in its proxies when their nodes' environment, at `ray start`, says
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=teacher_server.serve.proxy_guard.middlewares
"""

import logging
from ipaddress import ip_address

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.http.errors import ApiError
from teacher_server.serve import compat
from teacher_server.serve.failed_applications import AnswerForFailed, FailedApplications

logger = logging.getLogger(__name__)

HEALTH = "/-/healthz"


class CloseServeRoutes:
    """Answers 401 for everything below /-/; only probes of the same host still see /-/healthz."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or not path.startswith("/-/") or (path == HEALTH and _is_local(scope)):
            await self._app(scope, receive, send)
        else:
            error = ApiError(401, "invalid_token", "Ray Serve's own routes are closed; ask the teacher at its prefix")
            await error.response()(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve puts around its proxies."""
    if moved := compat.moved():
        logger.warning("another Ray than this was tested with; requests may fail: %s", "; ".join(moved))
    return [Middleware(CloseServeRoutes), Middleware(AnswerForFailed, failed=FailedApplications(compat.ask_controller))]


def _is_local(scope: Scope) -> bool:
    host = (scope.get("client") or ("",))[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
