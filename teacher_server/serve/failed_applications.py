"""Requests to an application that failed to deploy are answered: Serve itself lets them wait for ever.

Its proxies and handles keep a request until a replica can take it. So whoever waits asks Serve's controller now and
then whether one will come. What is answered in time costs no look.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.http.errors import ApiError
from teacher_server.serve.compat import Details

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two looks, whoever waits."""
RETRY_AFTER_S = 5
WHY = "failed to deploy and has no replica; `serve status` says why"
"""The reason itself names paths and settings, and who asks has shown no API key yet."""


class FailedApplications:
    """Which applications failed to deploy and have no replica from before either, as `ask` says."""

    def __init__(self, ask: Callable[[], Details]) -> None:
        self._ask = ask
        self._looking: asyncio.Task[None] | None = None
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
        if self._looking is None and time.monotonic() - self._looked_at >= LOOK_S:
            self._looking = asyncio.create_task(self._ask_controller())
        if self._looking is not None:
            await asyncio.shield(self._looking)  # others wait for this look too

    async def _ask_controller(self) -> None:
        try:
            applications = (await asyncio.to_thread(self._ask))["applications"]
        except (RayError, RayServeException) as error:
            logger.warning("can't ask Serve's controller: %s", error)
        else:
            prefixes = {name: each["route_prefix"] for name, each in applications.items()}
            self._names = {prefix: name for name, prefix in prefixes.items() if prefix}
            self._failed = {name for name, each in applications.items() if _has_failed(each)}
        finally:
            self._looked_at = time.monotonic()
            self._looking = None


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
    """Wait until there is an `answer`, or its application `has_failed`. Returns whether there is one.

    An answer is never held back while `has_failed` is being found out.
    """
    failing = asyncio.ensure_future(_until(has_failed))
    try:
        await asyncio.wait({answer, failing}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            failing.result()  # raises what `has_failed` raised
        return answer.done()
    finally:
        failing.cancel()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    await asyncio.sleep(LOOK_S)
    while not await condition():
        await asyncio.sleep(LOOK_S)


def _has_failed(application: Details) -> bool:
    replicas = [each["state"] for one in application["deployments"].values() for each in one["replicas"]]
    return application["status"] == "DEPLOY_FAILED" and "RUNNING" not in replicas
