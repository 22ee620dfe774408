"""The transport to an MCP server at an address: streamable HTTP, by the SDK, with answers that are bounded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from common.agents.environments.mcp_client.stdio import MESSAGE_BYTES
from common.teacher_client.settings import read_token


class _Bounded(httpx2.AsyncByteStream):
    """A body of which MESSAGE_BYTES are read at most, and then an error."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MESSAGE_BYTES
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                raise httpx2.StreamError(f"its answer is longer than {MESSAGE_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Bodies are neither long nor compressed, which could make them long."""
        response = await super().handle_async_request(request)
        response.headers.pop("content-encoding", None)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response


@asynccontextmanager
async def connect(url: str, token_file: Path | None) -> AsyncIterator[Any]:
    """The SDK's streams, to which proxies of our environment are nothing. Raises UserError for a bad token file."""
    headers = {"Accept-Encoding": "identity"}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {read_token(token_file)}"
    transport = _BoundedTransport(trust_env=False)
    timeout = httpx2.Timeout(30, read=None)  # the episode's bounds say how long a call may take
    async with (
        httpx2.AsyncClient(transport=transport, trust_env=False, headers=headers, timeout=timeout) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MESSAGE_BYTES) as streams,
    ):
        yield streams
