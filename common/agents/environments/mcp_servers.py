"""MCP servers as an environment: their tools offered and answered as ToolBench does.

Each episode has a process of each server to itself, so that it finds no other's traces, and a server that hangs or dies
costs it alone. That takes a start and tens of megabytes for each episode in flight: a server that keeps nothing of one
call for the next is better `shared`, one process for all. Calls of many episodes are then in flight together; one that
hangs or dies is replaced, and what was in flight on it fails by its name, so that these episodes are tried again.
A server at an address is shared by its nature, and counts as keeping nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from common.agents.environment import InfrastructureFailure
from common.agents.environments.answers import BadArguments, failure, no_such_function, opening, read_arguments
from common.agents.environments.mcp_client.errors import SessionEnded
from common.agents.environments.mcp_client.tools import Listing, ServerTool, offered_tools, problem
from common.agents.environments.settings import McpServerSettings
from common.agents.types import Action, Observation, Status, Task
from common.errors import UserError
from common.toolbench.finish import NAME, finish
from common.toolbench.names import standardize
from common.toolbench.rows import Turn

if TYPE_CHECKING:  # the package `mcp` is for those alone who name a server
    from common.agents.environments.mcp_client.session import Session


class McpServers:
    """The servers of a run, from which environments are made, one for each episode in flight."""

    def __init__(self, servers: Mapping[str, McpServerSettings]) -> None:
        """`servers` by the names that prompts give them. Raises UserError where the package `mcp` isn't installed."""
        try:
            from common.agents.environments.mcp_client.session import Session
        except ImportError as error:
            raise UserError(f"MCP servers need the package mcp ({error}); pip install 'mcp>=2,<3'") from None
        self._new_session, self.settings = Session, servers
        self._shared: dict[str, Session] = {}
        self._locks = {name: asyncio.Lock() for name in servers}
        self._had: set[str] = set()
        self.sha256 = {name: server.tools_sha256 for name, server in servers.items() if server.tools_sha256}
        """Hashes of the servers' tools, once they are known; they hold for the run."""

    def environment(self) -> "McpEnvironment":
        """An environment, for one episode at a time."""
        return McpEnvironment(self)

    async def join(self, name: str) -> tuple["Session", Listing]:
        """A session with a server, and what it offers.

        Raises UserError where a server never could be had, or offers other tools than before; InfrastructureFailure
        where one that could be had can't any more.
        """
        try:
            session, listing = await (self._shared_session(name) if self.settings[name].shared else self._own(name))
        except SessionEnded as error:
            if name in self._had:
                raise InfrastructureFailure(f"the MCP server {name} can't be had any more: {error}") from None
            raise UserError(f"the MCP server {name} can't be had: {error}; mend its settings") from None
        self._had.add(name)
        sha256 = self.sha256.setdefault(name, listing.sha256)
        if sha256 != listing.sha256:
            await session.close()
            raise UserError(
                f"the MCP server {name} offers other tools than before: their hash is {listing.sha256}, expected "
                f"{sha256}; look at what changed, then set tools_sha256 to it for a new run"
            )
        return session, listing

    async def close(self) -> None:
        """End the sessions that episodes share."""
        for session in self._shared.values():
            await session.close()

    async def _own(self, name: str) -> tuple["Session", Listing]:
        session = self._new_session(self.settings[name])
        return session, await session.open()

    async def _shared_session(self, name: str) -> tuple["Session", Listing]:
        async with self._locks[name]:
            session = self._shared.get(name)
            if session is not None and session.alive:
                return session, await session.listing()
            if session is not None:
                await session.close()
            self._shared[name], listing = await self._own(name)
            return self._shared[name], listing


class McpEnvironment:
    """Answers one episode's calls by the tools of `servers`."""

    def __init__(self, servers: McpServers) -> None:
        self._servers = servers
        self._task: Task | None = None
        self._sessions: dict[str, Session] = {}
        self._tools: dict[str, ServerTool] = {}

    async def reset(self, task: Task) -> list[Turn]:
        """As `Environment.reset`. Raises UserError as `McpServers.join`, and for tools that can't be offered."""
        await self.close()
        listings = await self._join()
        self._tools = {tool.offer["name"]: tool for name in listings for tool in offered_tools(name, listings[name])}
        told = sum(len(listing.tools) for listing in listings.values())
        if len(self._tools) < told:
            await self.close()
            raise UserError(
                f"two of the {told} tools of {', '.join(listings)} have one name; rename a tool or a server"
            )
        self._task = task
        tools = {standardize(name): listing.instructions for name, listing in listings.items()}
        return opening(task.query, [tool.offer for tool in self._tools.values()], tools)

    async def step(self, action: Action) -> tuple[Observation, bool]:
        """As `Environment.step`."""
        if self._task is None:
            raise RuntimeError("step before reset: no episode runs")
        if action.name == NAME:
            text, status, _ = finish(action.arguments)
            return Observation(text, status), status != Status.BAD_INPUT
        return await self._answer(action), False

    async def close(self) -> None:
        """As `Environment.close`."""
        sessions, self._sessions = self._sessions, {}
        for name, session in sessions.items():
            if not self._servers.settings[name].shared:
                await session.close()

    async def fork(self) -> Self:
        """As `ForkableEnvironment.fork`. Raises UserError where a server has a process of the episode's own."""
        own = [name for name, server in self._servers.settings.items() if server.keeps_state]
        if own:
            raise UserError(
                f"what the MCP server {own[0]} keeps can't be copied; set shared where it keeps nothing, or search "
                "without forks"
            )
        other = type(self)(self._servers)
        other._task, other._tools = self._task, self._tools
        await other._join()
        return other

    async def _join(self) -> dict[str, Listing]:
        listings = {}
        try:
            for name in self._servers.settings:
                self._sessions[name], listings[name] = await self._servers.join(name)
        except BaseException:  # cancellation too: no server's process may be left
            await self.close()
            raise
        return listings

    async def _answer(self, action: Action) -> Observation:
        tool = self._tools.get(action.name)
        if tool is None:
            return no_such_function(action.name)
        try:
            arguments = read_arguments(action.arguments)
        except BadArguments as error:
            return failure(str(error), Status.BAD_INPUT)
        if wrong := problem(tool.schema, arguments):
            return failure(wrong, Status.BAD_INPUT)
        try:
            return await self._sessions[tool.server].call(tool.name, arguments)
        except SessionEnded as error:
            if self._servers.settings[tool.server].keeps_state:
                return failure(f"{action.name} can't be called: {error}", Status.SENDING_FAILED)
            raise InfrastructureFailure(f"the MCP server {tool.server} can't be called: {error}") from None
