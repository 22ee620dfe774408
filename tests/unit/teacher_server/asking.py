"""Requests to the API around a stand-in engine, without a socket."""

import asyncio
import json
from typing import Any

import httpx
from fastapi import FastAPI

from teacher_server.engine.protocol import Engine
from teacher_server.settings import LimitSettings
from tests.service import TOKEN, make_service

SCORE = {"id": "s", "prompt_token_ids": [3, 4], "completion_token_ids": [5, 6, 7]}
WRITE = {"id": "w", "prompt_token_ids": [3, 4], "generate": {"max_tokens": 5, "temperature": 0}}


def body(*sequences: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "teacher", "top_k": 4, "sequences": list(sequences)} | fields


def make_app(engine: Engine, **limits: int) -> FastAPI:
    return make_service(engine, LimitSettings(**limits))


def connect(app: FastAPI, token: str | None = TOKEN) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=transport, base_url="http://teacher", headers=headers)


async def post(app: FastAPI, request: dict[str, Any], sent: list[bytes]) -> None:
    """POST to /v1/distill as a server would, collecting the parts of the body as they are sent."""
    messages = iter([{"type": "http.request", "body": json.dumps(request).encode()}])

    async def receive() -> dict[str, Any]:
        return next(messages, None) or await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            sent.append(message["body"])

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/distill", "query_string": b"", "headers": headers}
    await app(scope, receive, send)


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
