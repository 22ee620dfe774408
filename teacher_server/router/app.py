"""The router as a Ray Serve application: `import_path: teacher_server.router.app:build`, `args:` = RouterSettings."""

import asyncio
from contextlib import aclosing
from functools import cache, partial
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from common.settings import validate
from teacher_server.http import access_log
from teacher_server.http.api_keys import open_api_keys
from teacher_server.router.router import Router
from teacher_server.router.settings import RouterSettings
from teacher_server.serve import placement
from teacher_server.serve.compat import ask_controller
from teacher_server.serve.failed_applications import WHY, FailedApplications, wait_for_answer
from teacher_server.serve.relay import ApplicationUnavailable, RelayedRequest, RelayedResponse


@serve.ingress()
class RouterReplica:
    """Serve constructs it."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings

    async def __serve_build_asgi_app__(self) -> Starlette:
        access_log.log_to_stderr()
        asks = {name: partial(ask_application, name) for name in self._settings.applications}
        return Router(asks).app(self._settings.limits, open_api_keys(self._settings.token_file))


async def ask_application(name: str, request: RelayedRequest) -> RelayedResponse:
    """The answer of the Serve application `name`. Raises ApplicationUnavailable when none of its replicas can."""
    try:
        async with aclosing(_through_handle(name, request)) as answer:
            async for part in answer:
                yield part
    except (RayServeException, RayError) as error:
        raise ApplicationUnavailable(f"the application {name} can't answer: {type(error).__name__}") from error


async def _through_handle(name: str, request: RelayedRequest) -> RelayedResponse:
    parts: Any = _handle(name).forward.remote(request)
    first = asyncio.ensure_future(anext(parts))
    try:
        if not await wait_for_answer(first, partial(_failed().named, name)):
            raise ApplicationUnavailable(f"the application {name} {WHY}")
        yield await first
        async for part in parts:
            yield part
    finally:
        first.cancel()
        parts.cancel()


@cache
def _failed() -> FailedApplications:
    return FailedApplications(ask_controller)


@cache
def _handle(name: str) -> DeploymentHandle[Any]:
    return serve.get_app_handle(name).options(stream=True)


def build(args: dict[str, Any]) -> Application:
    """The router's application. Raises UserError naming every setting that is wrong."""
    settings = validate(RouterSettings, args, "args of teacher_server.router.app:build")
    actor = {
        "num_cpus": settings.num_cpus,
        "resources": placement.in_pool(settings.pool),
    }
    deployment = serve.deployment(
        name="TeacherRouter", num_replicas=settings.count, ray_actor_options=actor,
        max_ongoing_requests=settings.max_requests, max_queued_requests=settings.max_requests,
    )  # fmt: skip
    return deployment(RouterReplica).bind(settings)
