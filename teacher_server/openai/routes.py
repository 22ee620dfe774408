"""OpenAI's API for any of its clients: models, completions and chats, text only, in our own strict bodies."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion

from common.api import Body
from teacher_server.engine.metrics import Recorder
from teacher_server.engine.protocol import Engine
from teacher_server.http import json_body
from teacher_server.http.admission import Admission
from teacher_server.http.disconnect import while_connected
from teacher_server.openai.chat.protocol import ChatBody
from teacher_server.openai.protocol import CompletionBody
from teacher_server.openai.serving import OpenAIServing
from teacher_server.settings import LimitSettings

EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""What the document of the API says of an answer with `stream`."""


class ModelList(Body):
    """Answer of `GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


def openai_routes(engine: Engine, admission: Admission, limits: LimitSettings, recorder: Recorder) -> APIRouter:
    """OpenAI's routes around a started `engine`."""
    routes = APIRouter(prefix="/v1", route_class=json_body.JsonRoute)
    serving = OpenAIServing(engine, limits, recorder)

    async def admitted_completion(body: CompletionBody, connection: Request) -> AsyncIterator[CompletionBody]:
        with admission.admit(connection, body.number_of_answers, body.tokens(engine.describe().max_length)):
            yield body

    async def admitted_chat(body: ChatBody, connection: Request) -> AsyncIterator[ChatBody]:
        with admission.admit(connection, body.number_of_answers, body.tokens(engine.describe().max_length)):
            yield body

    @routes.get("/models", response_model_exclude_unset=True)
    async def models() -> ModelList:
        """The base model and its adapters."""
        return ModelList(object="list", data=serving.models())

    @routes.get("/models/{name:path}", response_model_exclude_unset=True)
    async def model(name: str) -> Model:
        """One of them."""
        return serving.model(name)

    @routes.post("/completions", response_model=Completion, responses=EVENTS)
    async def completions(body: Annotated[CompletionBody, Depends(admitted_completion)], request: Request) -> Response:
        """Completions of text or ids; server-sent events with `stream`."""
        return await while_connected(request, serving.complete(body))

    @routes.post("/chat/completions", response_model=ChatCompletion, responses=EVENTS)
    async def chat_completions(body: Annotated[ChatBody, Depends(admitted_chat)], request: Request) -> Response:
        """The assistant's next turn, which may call functions; server-sent events with `stream`."""
        return await while_connected(request, serving.chat(body))

    return routes
