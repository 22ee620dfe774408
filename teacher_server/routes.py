"""The teacher's HTTP API: routes around an engine, inside authentication."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI

from common.api import DistillRequest, TeacherCard
from teacher_server import distill, openai_routes, refusals
from teacher_server.admission import Admission
from teacher_server.auth import BearerAuth
from teacher_server.engine import Engine
from teacher_server.settings import LimitSettings


def create_app(engine: Engine, limits: LimitSettings, token: str) -> FastAPI:
    """The application around a started `engine`. FastAPI's own documentation routes are off."""
    app = FastAPI(title="ToolAgent-KD teacher", openapi_url=None, docs_url=None, redoc_url=None)
    refusals.install(app, limits.retry_after_s)
    app.add_middleware(BearerAuth, token=token)
    admission = Admission(limits)

    async def admitted(request: DistillRequest) -> AsyncIterator[DistillRequest]:
        with admission.hold(request.number_of_answers):
            yield request

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Healthy: the engine has answered before this application was made, and it is alive now."""
        await engine.check_health()
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
        return distill.AnswerStream(distill.stream_answers(engine, request, model), media_type=distill.MEDIA_TYPE)

    app.include_router(openai_routes.router(engine, admission))
    return app
