"""A session with one MCP server: opened, asked for its tools, called, closed, each in bounded time.

A task of its own holds it, since who opened the SDK's contexts must close them.
"""

import asyncio
import os
from typing import Any

from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from common.agents.environments.answers import failure, one_line
from common.agents.environments.mcp_client import http
from common.agents.environments.mcp_client.errors import SessionEnded
from common.agents.environments.mcp_client.results import observation_of, observation_of_error
from common.agents.environments.mcp_client.stdio import ServerProcess
from common.agents.environments.mcp_client.tools import MOST_TOOLS, Listing
from common.agents.environments.settings import McpServerSettings
from common.agents.types import Observation, Status

CLOSE_S = 5
"""Seconds for the end of a session."""
PROBE_S = 5
"""Seconds for a server to tell its tools after a call was given up; else it hangs, and its session is closed."""

SETTLE_S = 0.2
"""Seconds that an address's session may take to end once a request was told so."""


class Session:
    """One session. Calls may be in flight together."""

    def __init__(self, settings: McpServerSettings) -> None:
        """Raises UserError where the server's program isn't there."""
        self._settings = settings
        self._process: ServerProcess | None = None
        if settings.command:
            inherited = {each: os.environ[each] for each in settings.inherit if each in os.environ}
            self._process = ServerProcess(settings.command, settings.args, inherited | settings.env)
        self._client: Client | None = None
        self._begun, self._closing = asyncio.Event(), asyncio.Event()
        self._held: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._hung = False

    @property
    def alive(self) -> bool:
        """Whether calls can be answered."""
        held = self._held is not None and not self._held.done() and not self._closing.is_set()
        return held and (self._process is None or self._process.running)

    async def open(self) -> Listing:
        """Begin, and return what the server offers. Raises SessionEnded, UserError; then nothing is left of it."""
        self._held = asyncio.create_task(self._hold())
        self._held.add_done_callback(lambda _: self._begun.set())
        try:
            return await self.listing()
        except BaseException:  # cancellation too: the server must not outlive it
            await self.close()
            raise

    async def listing(self) -> Listing:
        """What the server offers now. Raises SessionEnded."""
        try:
            async with asyncio.timeout(self._settings.start_s):
                await self._begun.wait()
                if self._client is None or not self.alive:
                    raise self._ended()
                return await _listed(self._client)
        except TimeoutError:
            raise self._ended(f"it told no tools within {self._settings.start_s:g} s") from None
        except (MCPError, ValidationError) as error:
            raise self._ended(str(error)) from None

    async def call(self, tool: str, arguments: dict[str, Any]) -> Observation:
        """Call one of its tools. Where this is cancelled, whether the server still lives is found out aside.

        Raises SessionEnded.
        """
        if self._client is None or not self.alive:
            raise self._ended()
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        try:  # as `Client.call_tool`, but for compiling the server's schema of results
            return observation_of(await self._client.session.send_request(request, CallToolResult))
        except asyncio.CancelledError:
            self._probing = asyncio.create_task(self._probe())
            raise
        except ValidationError:
            return failure(f"the server of {tool} answered what is no result", Status.SENDING_FAILED)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED and not await self._stays():
                raise self._ended() from None
            return observation_of_error(error)

    async def close(self) -> None:
        """End it, and the server's process. May be called at any time, and more than once."""
        self._closing.set()
        if self._held is not None:
            if self._client is None:
                self._held.cancel()
            await asyncio.wait({self._held}, timeout=CLOSE_S)
            self._held.cancel()

    async def _hold(self) -> None:
        settings = self._settings
        transport = self._process.connect() if self._process else http.connect(settings.url, settings.token_file)
        async with Client(transport, cache=None) as client:
            self._client = client
            self._begun.set()
            await self._closing.wait()

    async def _stays(self) -> bool:
        """Whether the session outlives what may be its end."""
        if self._process is None and self._held is not None:
            await asyncio.wait({self._held}, timeout=SETTLE_S)
        return self.alive

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                await self.listing()
        except (TimeoutError, SessionEnded):
            self._hung = True
            await self.close()

    def _ended(self, why: str = "") -> SessionEnded:
        """What to raise: why, with what its task or its process said last."""
        if self._held is not None and self._held.done() and not self._held.cancelled():
            why = _innermost(self._held.exception()) or why
        why = why or ("it answered nothing any more" if self._hung else "it ended")
        words = self._process.last_words if self._process else ""
        return SessionEnded(one_line(f"{why}; it wrote: {words}" if words else why))


async def _listed(client: Client) -> Listing:
    tools: list[Any] = []
    cursor = None
    while len(tools) <= MOST_TOOLS:
        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    told = [{"name": each.name, "description": each.description, "inputSchema": each.input_schema} for each in tools]
    return Listing(client.instructions or "", told)


def _innermost(error: BaseException | None) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if error else ""
