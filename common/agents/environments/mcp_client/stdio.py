"""The transport to an MCP server that this process starts: JSON-RPC, a line each, over its standard streams.

The SDK's own hands on some of our environment, and holds whatever a server writes, however long: this one doesn't. A
line that is too long, or no message, becomes an error for the request that it answers, if it tells which; a line that
isn't meant as a message is passed over.
"""

import asyncio
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

from common.errors import UserError

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]
MESSAGE_BYTES = 4 * 2**20
"""The longest message of a server."""
ENDS_BYTES = 512
"""What is kept of a longer one, at its beginning and at its end."""
END_S = 2
"""Seconds for a server to end by itself once its input is closed."""
WORDS_BYTES = 2000
"""What is kept of what a server writes to its standard error."""
_CUT = b"\0"  # which JSON doesn't allow
_ID = re.compile(rb'\A\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)|"id"\s*:\s*(\d+)\s*\}\s*\Z')


class ServerProcess:
    """A server's process and what it says."""

    def __init__(self, command: str, args: Sequence[str], env: Mapping[str, str]) -> None:
        """Raises UserError where there is no such program."""
        program = shutil.which(command)
        if program is None:
            raise UserError(f"there is no program {command}; install it, or give its path")
        self._command, self._env, self._words = (program, *args), dict(env), b""
        self.running = False

    @property
    def last_words(self) -> str:
        """The last line that it wrote to its standard error."""
        return self._words.decode(errors="replace").strip().rpartition("\n")[2]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[Incoming, Outgoing]]:
        """Start it; at the end of the block, end it and what it started. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        self.running = True
        into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, out = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with anyio.create_task_group() as tasks, into, incoming, outgoing, out:
                tasks.start_soon(self._read, process, into)
                tasks.start_soon(_write, process, out, into)
                tasks.start_soon(self._listen, process)
                yield incoming, outgoing
                tasks.cancel_scope.cancel()
        finally:
            await _end(process)

    async def _read(self, process: Process, into: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        assert process.stdout is not None
        async with into:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody listens any more
                async for line in lines(process.stdout):
                    if message := parse(line):
                        await into.send(message)
            self.running = False

    async def _listen(self, process: Process) -> None:
        assert process.stderr is not None
        while part := await process.stderr.read(WORDS_BYTES):
            self._words = (self._words + part)[-WORDS_BYTES:]


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of `stream`; of one that is longer than MESSAGE_BYTES its ends alone."""
    line = bytearray()
    while part := await stream.read(2**16):
        for index, piece in enumerate(part.split(b"\n")):
            if index:
                yield bytes(line)
                line.clear()
            line += piece
            if len(line) > MESSAGE_BYTES:
                line[ENDS_BYTES:-ENDS_BYTES] = _CUT


def parse(line: bytes) -> SessionMessage | None:
    """The message in a line, an error in place of one that can't be read; None where no request is answered."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        ends = line if len(line) < 2 * ENDS_BYTES else line[:ENDS_BYTES] + _CUT + line[-ENDS_BYTES:]
        found = _ID.search(ends)
    if found is None:
        return None
    why = f"its answer is longer than {MESSAGE_BYTES} bytes" if _CUT in line else "its answer is no JSON-RPC message"
    error = ErrorData(code=PARSE_ERROR, message=why)
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=int(found[1] or found[2]), error=error))


async def _write(
    process: Process,
    out: MemoryObjectReceiveStream[SessionMessage],
    into: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    async with out:
        async for each in out:
            data = each.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
            try:
                process.stdin.write(data + b"\n")
                await process.stdin.drain()
            except OSError:  # it has ended, or closed its input: no request is answered any more
                return await into.aclose()


async def _end(process: Process) -> None:
    """Let the server end by itself, then kill it and what it started."""
    assert process.stdin is not None
    try:
        process.stdin.close()
        await _wait(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await _wait(process)


async def _wait(process: Process) -> None:
    """Wait for its end and that of its streams, which what it started may hold open."""
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.wait()
