"""A request whose client goes away is worked on no further, whatever server stands around the application."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

CLIENT_GONE = 499
"""Status of an answer that nobody reads; it shows in the access log alone."""


class AnswerStream(StreamingResponse):
    """A streamed answer whose generator ends at once when the client goes away, wherever it was suspended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            assert isinstance(self.body_iterator, AsyncGenerator)
            await self.body_iterator.aclose()


async def while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response that `work` makes; when the client goes away first, `work` is cancelled.

    The request's body must have been read.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=CLIENT_GONE)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
