"""The distillation API: what is served, and sequences scored or written with the teacher's distribution."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from common.api import DistillRequest, TeacherCard
from teacher_server.distill import serving
from teacher_server.engine.metrics import Meter, Recorder
from teacher_server.engine.protocol import Engine
from teacher_server.http import json_body, openapi
from teacher_server.http.admission import Admission, check_size
from teacher_server.http.disconnect import AnswerStream
from teacher_server.settings import LimitSettings


def distill_routes(engine: Engine, admission: Admission, limits: LimitSettings, recorder: Recorder) -> APIRouter:
    """The routes around a started `engine`."""
    routes = APIRouter(prefix="/v1", route_class=json_body.JsonRoute)

    async def admitted(request: DistillRequest, connection: Request) -> AsyncIterator[DistillRequest]:
        tokens = check_size(request.sequences, request.top_k, limits, ("sequences", "top_k"))
        with admission.admit(connection, request.number_of_answers, tokens):
            yield request

    @routes.get("/teacher")
    async def teacher() -> TeacherCard:
        """What is served; all that a trainer's handshake compares."""
        return engine.describe()

    @routes.post(
        "/distill",
        response_class=AnswerStream,
        responses={200: {"content": {serving.MEDIA_TYPE: {"schema": openapi.BINARY}}}},
    )
    async def distill(request: Annotated[DistillRequest, Depends(admitted)]) -> AnswerStream:
        """Score or write completions; an Arrow IPC stream of `common.wire` records, each as it finishes."""
        model = serving.check_request(request, engine.describe())
        await engine.check_health()
        answers = serving.stream_answers(engine, request, model, Meter(recorder, model.name))
        return AnswerStream(answers, media_type=serving.MEDIA_TYPE)

    return routes
