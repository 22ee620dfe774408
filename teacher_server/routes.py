"""The teacher's HTTP API: routes around an engine, inside authentication."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI

from common.api import DistillRequest, TeacherCard
from teacher_server import distill, refusals
from teacher_server.admission import Admission
from teacher_server.auth import BearerAuth
from teacher_server.engine import Engine
from teacher_server.health import EngineHealth
from teacher_server.metering import Metering
from teacher_server.metrics import MemoryRecorder, Meter, Recorder
from teacher_server.settings import LimitSettings

HEALTHZ_PATIENCE_S = 5
"""Seconds in which the engine must show life to whoever asks for /healthz."""


def create_app(
    engine: Engine,
    limits: LimitSettings,
    token: str,
    admission: Admission | None = None,
    health: EngineHealth | None = None,
    recorder: Recorder | None = None,
) -> FastAPI:
    """The application around a started `engine`. FastAPI's own documentation routes are off.

    A replica gives its own `admission`, `health` and `recorder`, which it uses besides.
    """
    admission, health = admission or Admission(limits), health or EngineHealth(engine)
    recorder = recorder or MemoryRecorder()
    app = FastAPI(title="ToolAgent-KD teacher", openapi_url=None, docs_url=None, redoc_url=None)
    refusals.install(app, limits.retry_after_s)
    app.add_middleware(BearerAuth, token=token)
    app.add_middleware(Metering, recorder=recorder)

    async def admitted(request: DistillRequest) -> AsyncIterator[DistillRequest]:
        with admission.hold(len(request.sequences)):
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

    @app.post("/v1/distill")
    async def distill_sequences(request: Annotated[DistillRequest, Depends(admitted)]) -> distill.AnswerStream:
        """Score or write completions; an Arrow IPC stream of `common.wire` records, each as it finishes."""
        model = distill.check_request(request, engine.describe())
        await engine.check_health()
        answers = distill.stream_answers(engine, request, model, Meter(recorder, model.name))
        return distill.AnswerStream(answers, media_type=distill.MEDIA_TYPE)

    return app
