"""The router as a Ray Serve application: `import_path: teacher_server.router.app:build`, `args:` = RouterSettings."""

from contextlib import aclosing
from functools import cache, partial
from typing import Any

from pydantic import Field
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from common.settings import Settings, UserPath, validate
from teacher_server.engine.protocol import EngineUnavailable
from teacher_server.http import access_log
from teacher_server.http.api_keys import open_tokens
from teacher_server.router.router import Router
from teacher_server.serve.app import POOL_SHARE
from teacher_server.serve.relay import Answer, Forwarded
from teacher_server.settings import LimitSettings


class RouterSettings(Settings):
    """Which applications stand behind one address."""

    applications: list[str] = Field(min_length=1)
    """Names of Serve applications; where two serve a model of the same name, the earlier one answers."""
    token_file: UserPath | None = None
    """As the applications' own: the router asks for a token before it reads anything."""
    limits: LimitSettings = LimitSettings()
    """What a request may be; its body is held in memory until its application has it."""
    max_requests: int = Field(default=1024, ge=1)
    """Requests on their way at a time, per replica; the applications refuse earlier."""
    count: int = Field(default=1, ge=1)
    """Replicas of the router."""
    num_cpus: float = Field(default=0.1, ge=0)
    """CPUs that each reserves."""
    pool: str | None = "teacher_pool"
    """Custom resource of the nodes that may hold one."""


@serve.ingress()
class RouterReplica:
    """Serve constructs it."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings

    async def __serve_build_asgi_app__(self) -> Starlette:
        access_log.log_to_stderr()
        asks = {name: partial(ask_application, name) for name in self._settings.applications}
        return Router(asks).app(self._settings.limits, open_tokens(self._settings.token_file))


async def ask_application(name: str, request: Forwarded) -> Answer:
    """The answer of the Serve application `name`. Raises EngineUnavailable when none of its replicas can give any."""
    try:
        async with aclosing(_through_handle(name, request)) as answer:
            async for part in answer:
                yield part
    except (RayServeException, RayError) as error:
        raise EngineUnavailable(f"the application {name} can't answer: {type(error).__name__}") from error


async def _through_handle(name: str, request: Forwarded) -> Answer:
    parts: Any = _handle(name).forward.remote(request)
    try:
        async for part in parts:
            yield part
    finally:
        parts.cancel()


@cache
def _handle(name: str) -> DeploymentHandle[Any]:
    return serve.get_app_handle(name).options(stream=True)


def build(args: dict[str, Any]) -> Application:
    """The router's application. Raises UserError naming every setting that is wrong."""
    settings = validate(RouterSettings, args, "args of teacher_server.router.app:build")
    actor = {
        "num_cpus": settings.num_cpus,
        "resources": {} if settings.pool is None else {settings.pool: POOL_SHARE},
    }
    deployment = serve.deployment(
        name="TeacherRouter", num_replicas=settings.count, ray_actor_options=actor,
        max_ongoing_requests=settings.max_requests, max_queued_requests=settings.max_requests,
    )  # fmt: skip
    return deployment(RouterReplica).bind(settings)
