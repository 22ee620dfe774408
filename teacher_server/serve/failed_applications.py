"""Requests to an application that failed to deploy are answered: Serve itself lets them wait for ever.

Its proxies and handles keep a request until a replica can take it. So whoever waits asks Serve's controller now and
then whether one will come. What is answered in time costs nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.http.errors import ApiError

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two looks, whoever waits."""
RETRY_AFTER_S = 5
WHY = "failed to deploy and has no replica; `serve status` says why"
"""The reason itself names paths and settings, and who asks has shown no API key yet."""

Details = dict[str, Any]
"""What Serve's controller says, as Ray documents it for `GET /api/serve/applications/`."""


class FailedApplications:
    """Which applications failed to deploy and have no replica from before either, as `ask` says."""

    def __init__(self, ask: Callable[[], Details]) -> None:
        self._ask = ask
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._failed: set[str] = set()
        self._names: dict[str, str] = {}  # by route prefix

    async def named(self, name: str) -> bool:
        """Whether the application `name` is one of them."""
        await self._look()
        return name in self._failed

    async def at(self, path: str) -> bool:
        """Whether the application that `path` leads to is one of them."""
        await self._look()
        prefixes = [prefix for prefix in self._names if f"{path}/".startswith(f"{prefix.rstrip('/')}/")]
        return bool(prefixes) and self._names[max(prefixes, key=len)] in self._failed

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at < LOOK_S:
                return
            try:
                applications = (await asyncio.to_thread(self._ask))["applications"]
            except (RayError, RayServeException) as error:
                logger.warning("can't ask Serve's controller: %s", error)
            else:
                prefixes = {name: each["route_prefix"] for name, each in applications.items()}
                self._names = {prefix: name for name, prefix in prefixes.items() if prefix}
                self._failed = {name for name, each in applications.items() if _has_failed(each)}
            self._looked_at = time.monotonic()


class AnswerForFailed:
    """Middleware of Serve's proxies: 503 to whoever waits for an application that failed to deploy."""

    def __init__(self, app: ASGIApp, failed: FailedApplications) -> None:
        self._app = app
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = asyncio.get_running_loop().create_future()

        def begin(_: object) -> None:
            if not begun.done():
                begun.set_result(None)

        async def noting_send(message: Message) -> None:
            begin(message)
            await send(message)

        answering = asyncio.ensure_future(self._app(scope, receive, noting_send))
        answering.add_done_callback(begin)
        try:
            if await wait_for_answer(begun, lambda: self._failed.at(scope["path"])):
                await answering
                return
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        error = ApiError(503, "deploy_failed", f"the application at this address {WHY}", retry_after_s=RETRY_AFTER_S)
        await error.response()(scope, receive, send)


async def wait_for_answer(answer: "asyncio.Future[Any]", has_failed: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until there is an `answer`, or its application `has_failed`. Returns whether there is one."""
    while not answer.done():
        await asyncio.wait({answer}, timeout=LOOK_S)
        if not answer.done() and await has_failed():
            return answer.done()
    return True


def ask_controller() -> Details:
    """What the controller says; in whatever process of Serve this runs. Raises RayError or RayServeException."""
    client = _get_global_client()
    assert client is not None, "it raises when no controller runs"
    return client.get_serve_details()


def _has_failed(application: Details) -> bool:
    replicas = [each["state"] for one in application["deployments"].values() for each in one["replicas"]]
    return application["status"] == "DEPLOY_FAILED" and "RUNNING" not in replicas
