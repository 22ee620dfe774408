"""The teacher's HTTP API: routes around an engine, inside authentication."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from common.api import DistillRequest, TeacherCard
from teacher_server.adapters import routes as adapter_routes
from teacher_server.distill import serving
from teacher_server.engine.health import EngineHealth
from teacher_server.engine.metrics import MemoryRecorder, Meter, Recorder
from teacher_server.engine.protocol import Engine
from teacher_server.http import errors, json_body, middleware, openapi
from teacher_server.http.admission import Admission, check_size
from teacher_server.http.api_keys import Tokens
from teacher_server.http.metering import log_and_count
from teacher_server.openai import routes as openai_routes
from teacher_server.settings import LimitSettings

HEALTHZ_PATIENCE_S = 5
"""Seconds in which the engine must show life to whoever asks for /healthz."""


def create_app(
    engine: Engine,
    limits: LimitSettings,
    tokens: Tokens | str,
    admission: Admission | None = None,
    health: EngineHealth | None = None,
    recorder: Recorder | None = None,
) -> FastAPI:
    """The application around a started `engine`, for clients with one of the `tokens` (a string is the only one).

    A replica gives its own `admission`, `health` and `recorder`, which it uses besides.
    """
    admission, health = admission or Admission(limits), health or EngineHealth(engine)
    recorder = recorder or MemoryRecorder()
    app = openapi.DocumentedApi(title="ToolAgent-KD teacher", docs_url=None, redoc_url=None)
    app.router.route_class = json_body.JsonRoute
    errors.install(app, limits.retry_after_s)
    middleware.close(app, limits, tokens, log_and_count(recorder))
    app.include_router(adapter_routes.router(engine))

    async def admitted(request: DistillRequest, connection: Request) -> AsyncIterator[DistillRequest]:
        connection.state.sequences = request.number_of_answers
        with admission.hold(request.number_of_answers, check_size(request.sequences, request.top_k, limits)):
            yield request

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Healthy: the engine has just answered, or shown that it works."""
        await health.check(HEALTHZ_PATIENCE_S)
        return {"status": "ok"}

    @app.get("/v1/teacher")
    async def teacher() -> TeacherCard:
        """What is served; all that a trainer's handshake compares."""
        return engine.describe()

    @app.post(
        "/v1/distill",
        response_class=serving.AnswerStream,
        responses={200: {"content": {serving.MEDIA_TYPE: {"schema": openapi.BINARY}}}},
    )
    async def distill_sequences(request: Annotated[DistillRequest, Depends(admitted)]) -> serving.AnswerStream:
        """Score or write completions; an Arrow IPC stream of `common.wire` records, each as it finishes."""
        model = serving.check_request(request, engine.describe())
        await engine.check_health()
        answers = serving.stream_answers(engine, request, model, Meter(recorder, model.name))
        return serving.AnswerStream(answers, media_type=serving.MEDIA_TYPE)

    app.include_router(openai_routes.router(engine, admission, limits, recorder))
    return app
