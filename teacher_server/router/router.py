"""One address for several teachers: a request goes to the application that serves its `model`, and its answer back.

The router has the middleware of a teacher, and behind it answers nothing by itself but /healthz, the list of
everybody's models, and what no application can. What it learns of who serves what it asks with the caller's own API
key. Requests without a model go to the first application.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from itertools import chain
from typing import Any, cast

from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.api import TeacherCard
from teacher_server.http import access_log, middleware
from teacher_server.http.api_keys import ApiKeys
from teacher_server.http.disconnect import AnswerStream
from teacher_server.http.errors import ApiError
from teacher_server.serve.relay import (
    ApplicationUnavailable,
    Ask,
    Headers,
    RelayedRequest,
    RelayedResponse,
    ResponseStart,
)
from teacher_server.settings import LimitSettings

KNOWN_FOR_S = 5.0
"""Seconds for which an answer to who serves what is believed."""
MODELS = "/v1/models"
NAMING = ("/v1/models/", "/v1/adapters/")
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_OF_THE_HOP = frozenset({b"connection", b"transfer-encoding", b"content-length"})


class Router:
    """Asks `applications`, by name in order of preference."""

    def __init__(self, applications: Mapping[str, Ask]) -> None:
        self._applications = applications
        self._served: dict[str, list[str]] = {}
        self._asked_at = -KNOWN_FOR_S

    def app(self, limits: LimitSettings, api_keys: ApiKeys) -> Starlette:
        """The ASGI application, for clients with one of the `api_keys`."""
        every = Route("/{path:path}", self._answer, methods=METHODS)
        app = Starlette(routes=[Route("/healthz", _healthz), every])
        middleware.add(app, limits, api_keys, access_log.write_line)
        return app

    async def _answer(self, request: Request) -> Response:
        try:
            body = await request.body()
            path = request.scope["path"][len(request.scope.get("root_path", "")) :]
            headers = _between_hops(request.headers.raw)
            forwarded = RelayedRequest(request.method, path, headers, request.scope["query_string"], body)
            if (request.method, path) == ("GET", MODELS) and (models := await self._models(request.headers.raw)):
                return JSONResponse({"object": "list", "data": models})
            model = request.query_params.get("model") or _named_in(path) or _model_of(body)
            return await self._forward(forwarded, model)
        except ApiError as error:
            return error.response()
        except ApplicationUnavailable as error:
            return ApiError(503, "unavailable", f"{error}; try again later", retry_after_s=1).response()

    async def _forward(self, request: RelayedRequest, model: str | None) -> Response:
        first = next(iter(self._applications))
        name = first if model is None else await self._find(model, request.headers) or first
        return await _answered(self._applications[name](request))

    async def _find(self, model: str, headers: Headers) -> str | None:
        """The first application that serves `model`; None where none does, so that the first of all refuses it."""
        if time.monotonic() - self._asked_at > KNOWN_FOR_S or self._serving(model) is None:
            await self._learn(headers)
        return self._serving(model)

    def _serving(self, model: str) -> str | None:
        return next((name for name in self._applications if model in self._served.get(name, [])), None)

    async def _learn(self, headers: Headers) -> None:
        for name, card in zip(self._applications, await self._ask_all("/v1/teacher", headers), strict=True):
            if card is not None:
                models = TeacherCard.model_validate_json(card).models
                self._served[name] = [model.name for model in models]
                self._asked_at = time.monotonic()

    async def _models(self, headers: Headers) -> list[dict[str, Any]]:
        """Every application's models in OpenAI's form; of two with one name, the one that would answer."""
        lists = [from_json(content)["data"] for content in await self._ask_all(MODELS, headers) if content]
        models: dict[str, dict[str, Any]] = {}
        for model in chain.from_iterable(lists):
            models.setdefault(model["id"], model)
        return [*models.values()]

    async def _ask_all(self, path: str, headers: Headers) -> list[bytes | None]:
        """What each application answers to GET `path` with the caller's API key; None where it can't."""
        asking = [(name, value) for name, value in headers if name in (b"authorization", b"host")]
        request = RelayedRequest("GET", path, asking)
        return await asyncio.gather(*(_content(ask, request) for ask in self._applications.values()))


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _named_in(path: str) -> str | None:
    """The model in a path like /v1/models/NAME or /v1/adapters/NAME."""
    return next((path[len(start) :] for start in NAMING if path.startswith(start)), None)


def _model_of(body: bytes) -> str | None:
    try:
        values = from_json(body)
    except ValueError:  # the application says what is wrong with it
        return None
    model = values.get("model") if isinstance(values, dict) else None
    return model if isinstance(model, str) else None


def _between_hops(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name not in _OF_THE_HOP]


async def _answered(answer: RelayedResponse) -> Response:
    try:
        start = await anext(answer)
    except BaseException:  # the caller's leaving too: the application must hear of it
        await answer.aclose()
        raise
    assert isinstance(start, ResponseStart)
    rest = cast("AsyncGenerator[bytes]", answer)  # all that follows the start
    response = AnswerStream(rest, start.status)
    response.raw_headers = _between_hops(start.headers)
    return response


async def _content(ask: Ask, request: RelayedRequest) -> bytes | None:
    try:
        start, *body = [part async for part in ask(request)]
    except ApplicationUnavailable:
        return None
    assert isinstance(start, ResponseStart)
    return b"".join(part for part in body if isinstance(part, bytes)) if start.status == 200 else None
