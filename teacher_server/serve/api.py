"""The teacher's HTTP API: routes around an engine, inside authentication."""

from fastapi import APIRouter, FastAPI

from teacher_server.adapters.routes import adapter_routes
from teacher_server.distill.routes import distill_routes
from teacher_server.engine.health import EngineHealth
from teacher_server.engine.metrics import Recorder
from teacher_server.engine.protocol import Engine
from teacher_server.http import errors, middleware, openapi
from teacher_server.http.access_log import log_and_count
from teacher_server.http.admission import Admission
from teacher_server.http.api_keys import ApiKeys
from teacher_server.openai.routes import openai_routes
from teacher_server.settings import LimitSettings

HEALTHZ_PATIENCE_S = 5
"""Seconds in which the engine must show life to whoever asks for /healthz."""


def create_app(
    engine: Engine,
    limits: LimitSettings,
    api_keys: ApiKeys,
    admission: Admission,
    health: EngineHealth,
    recorder: Recorder,
) -> FastAPI:
    """The application around a started `engine`, for clients with one of the `api_keys`.

    `admission`, `health` and `recorder` are the replica's own, which it uses besides.
    """
    app = openapi.DocumentedApi(title="ToolAgent-KD teacher", docs_url=None, redoc_url=None)
    errors.install(app, limits.retry_after_s)
    middleware.add(app, limits, api_keys, log_and_count(recorder))
    app.include_router(adapter_routes(engine))
    app.include_router(health_route(health))
    app.include_router(distill_routes(engine, admission, limits, recorder))
    app.include_router(openai_routes(engine, admission, limits, recorder))
    return app


def health_route(health: EngineHealth) -> APIRouter:
    """The one path that asks for no API key."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Healthy: the engine has just answered, or shown that it works."""
        await health.check(HEALTHZ_PATIENCE_S)
        return {"status": "ok"}

    return routes
