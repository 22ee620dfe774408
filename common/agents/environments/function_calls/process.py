"""The fork server and its workers, as their owner sees them: started, asked, killed.

A request that is cancelled, as a call that takes too long is, kills its worker, whatever that does: it is a process of
its own, and what it started dies with it. The event loop waits for none: the fork server reads what it is told at once.
"""

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress

import cloudpickle

from common.agents.environment import InfrastructureFailure
from common.agents.environments.answers import one_line
from common.agents.environments.function_calls.fork_server import LOAD_S, NUMBER
from common.agents.environments.function_calls.frames import Ended, Frame, read_frame, write_frame
from common.agents.environments.function_calls.worker import Program
from common.errors import UserError

ASIDE_S = 10
"""Seconds that a user's code outside of calls may take: to judge an answer, to copy what functions keep."""
END_S = 2
"""Seconds for the end of all workers."""
MODULE = "common.agents.environments.function_calls.fork_server"
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONUNBUFFERED"), "1")
"""Pools of threads don't survive a fork, and hundreds of workers share the machine; what tools print isn't held back.
"""


class WorkerProblem(Exception):
    """A user's code failed outside of a call; the message says how. Its worker has ended."""


class ForkServer:
    """Starts its process when a worker is first wanted, and again where it has died. It ends with its owner."""

    def __init__(self, program: Program) -> None:
        """Raises UserError where `program` can't be handed to another process."""
        try:
            self._program = cloudpickle.dumps(program)
        except Exception as error:  # a user's own objects may raise anything when they are pickled
            why = one_line(f"{type(error).__name__}: {error}")
            raise UserError(f"the tools can't be handed to a process ({why}); make them in a function") from error
        self._numbers = itertools.count()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._starting: asyncio.Task[socket.socket] | None = None
        self._end: Callable[[], object] = lambda: None

    async def worker(self) -> "Worker":
        """A new worker, whose functions are made. Raises InfrastructureFailure where that fails or takes too long."""
        try:
            async with asyncio.timeout(LOAD_S):
                control = await self._control()
            worker = self._fork(control)
            async with asyncio.timeout(LOAD_S):
                await worker.reply()
        except (OSError, Ended, WorkerProblem) as error:  # a TimeoutError is an OSError
            why = str(error) or f"it took longer than {LOAD_S} s"
            raise InfrastructureFailure(f"the tools can't be made: {why}") from None
        return worker

    def close(self) -> None:
        """End the process and all workers."""
        self._end()

    def _fork(self, control: socket.socket) -> "Worker":
        ours, theirs = socket.socketpair()
        worker = Worker(ours, next(self._numbers), self._kill)
        with theirs:
            try:
                socket.send_fds(control, [NUMBER.pack(worker.number)], [theirs.fileno()])
            except OSError:
                worker.kill()
                raise
        return worker

    def _kill(self, number: int) -> None:
        if self._running is not None:
            with suppress(OSError):  # then all have ended
                self._running[1].send(NUMBER.pack(number))

    async def _control(self) -> socket.socket:
        """The control socket of a process that is there and has loaded the program."""
        if self._running is not None and self._running[0].poll() is None:
            return self._running[1]
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> socket.socket:
        self._end()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, tempfile.TemporaryFile() as program:
            program.write(self._program)
            program.seek(0)
            descriptors = (theirs.fileno(), program.fileno())
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, *map(str, descriptors), str(logging.getLogger().getEffectiveLevel())],
                stdin=subprocess.DEVNULL,
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=descriptors,
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _end, process, ours)
        _checked(await read_frame(ours))
        ours.setblocking(True)  # from now on, what it is told is a few bytes that it reads at once
        self._running = process, ours
        return ours


class Worker:
    """One episode's functions in their process."""

    def __init__(self, connection: socket.socket, number: int, kill: Callable[[int], None]) -> None:
        connection.setblocking(False)
        self._connection, self.number, self._kill = connection, number, kill
        self.alive = True

    async def ask(self, request: Frame) -> Frame:
        """The reply to `request`. If none comes, the worker is killed; so it is where this is cancelled.

        Raises Ended, WorkerProblem.
        """
        try:
            await write_frame(self._connection, request)
        except OSError:
            pass  # it has ended, and may have said why
        except asyncio.CancelledError:
            self.kill()
            raise
        return await self.reply()

    async def ask_aside(self, request: Frame) -> Frame:
        """As `ask`, for what is no call: it may take ASIDE_S. Raises WorkerProblem alone."""
        try:
            async with asyncio.timeout(ASIDE_S):
                return await self.ask(request)
        except (Ended, TimeoutError) as error:
            raise WorkerProblem(str(error) or f"it took longer than {ASIDE_S} s") from None

    async def reply(self) -> Frame:
        """The next reply, as `ask`."""
        try:
            return _checked(await read_frame(self._connection))
        except BaseException:  # cancellation too: whatever it does then, nobody waits for it
            self.kill()
            raise

    def kill(self) -> None:
        """End the process, whatever it does. May be called more than once."""
        if self.alive:
            self.alive = False
            self._connection.close()
            self._kill(self.number)


def _checked(frame: Frame) -> Frame:
    if "problem" in frame:
        raise WorkerProblem(frame["problem"])
    return frame


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Let the fork server end its workers and itself; kill it if it is busy, as with loading."""
    control.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
