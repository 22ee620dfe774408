"""An HTTP request and its answer through a Serve handle: what a router sends, what a replica's application answers."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import anyio
from starlette.types import ASGIApp, Message

Headers = list[tuple[bytes, bytes]]


class ApplicationUnavailable(Exception):
    """An application that can't answer now: the same request may succeed later."""


@dataclass(frozen=True)
class RelayedRequest:
    """A whole request; `path` is the one within the application that answers."""

    method: str
    path: str
    headers: Headers = field(default_factory=list)
    query: bytes = b""
    body: bytes = b""


@dataclass(frozen=True)
class ResponseStart:
    """How an answer begins; the parts of its body follow as bytes."""

    status: int
    headers: Headers


RelayedResponse = AsyncGenerator[ResponseStart | bytes]
Ask = Callable[[RelayedRequest], RelayedResponse]
"""Asks an application. Raises ApplicationUnavailable when none of its replicas can answer."""


async def call(app: ASGIApp, request: RelayedRequest) -> RelayedResponse:
    """The answer of `app`, each part as it is sent. Closing the generator is the client going away."""
    sent, parts = anyio.create_memory_object_stream[Message](0)  # a slow reader slows the writer
    unread = [request.body]

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop()}
        return await asyncio.Future()

    async def run() -> None:
        with sent:
            await app(_scope(request), receive, sent.send)

    running = asyncio.create_task(run())
    try:
        async for part in parts:
            if part["type"] == "http.response.start":
                yield ResponseStart(part["status"], list(part["headers"]))
            elif part.get("body"):
                yield part["body"]
        await running
    finally:
        parts.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _scope(request: RelayedRequest) -> dict[str, object]:
    return {
        "type": "http", "http_version": "1.1", "method": request.method, "path": request.path, "root_path": "",
        "query_string": request.query, "headers": request.headers,
    }  # fmt: skip
