"""The process that loads a user's functions once and forks a worker for each episode.

Started as `python -m common.agents.environments.function_calls.fork_server CONTROL PROGRAM LEVEL`: the descriptors of a
socket and of a file with the pickled Program, and the level of logging. Once that is loaded, it says so by a frame on
the control socket. A message there is a worker's number: with a socket, over which its requests come, it asks for that
worker; without one it kills that worker. When the control socket closes, all end.
"""

import gc
import logging
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

from common.agents.environments.answers import one_line
from common.agents.environments.function_calls.frames import send_frame
from common.agents.environments.function_calls.worker import Program, described, work

NUMBER = struct.Struct("<I")
"""A message on the control socket."""
LOAD_S = 60
"""Seconds that a program may take to load; then the process is killed."""
log = logging.getLogger(__name__)


def serve(control: socket.socket, work: Callable[[socket.socket], None]) -> None:
    """Fork workers, which `work`, and kill them as `control` asks, until it closes."""
    workers: dict[int, int] = {}
    while True:
        data, sockets, *_ = socket.recv_fds(control, NUMBER.size, 1)
        if not data:
            break
        _forget_ended(workers)
        (number,) = NUMBER.unpack(data)
        if not sockets:
            _kill(workers.pop(number, None))
            continue
        with socket.socket(fileno=sockets[0]) as connection:
            if worker := os.fork():
                workers[number] = worker
            else:
                control.close()
                _live(connection, work)
    for process in workers.values():
        _kill(process)


def _live(connection: socket.socket, work: Callable[[socket.socket], None]) -> None:
    """Live as a worker, the leader of a group that is killed as one; never returns."""
    try:
        os.setsid()
        work(connection)
    finally:
        os._exit(0)


def _forget_ended(workers: dict[int, int]) -> None:
    """Let go of workers that have ended; kill what they had started."""
    for number, process in list(workers.items()):
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):  # its id is no other's until waited for
            _kill(workers.pop(number))


def _kill(process: int | None) -> None:
    """Kill a worker and what it started, and wait for its end."""
    if process is None:
        return
    for kill in (os.killpg, os.kill):  # it may not lead its group yet
        with suppress(ProcessLookupError):
            kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def main(control: socket.socket, program_file: int) -> None:
    """Load the pickled program, tell how that went, and serve."""
    signal.alarm(LOAD_S)
    stream = control.makefile("rwb")
    try:
        with open(program_file, "rb") as file:
            program: Program = pickle.load(file)
        functions = {} if program.keeps_state else described(program.make_tools())
        for function in functions.values():
            function.prepare()
    except Exception as error:  # loading imports a user's modules, which may raise anything
        log.debug("the tools can't be loaded", exc_info=True)
        send_frame(stream, {"problem": one_line(f"{type(error).__name__}: {error}")})
        return
    signal.alarm(0)
    gc.freeze()  # workers share memory until it is written to
    send_frame(stream, {})
    serve(control, lambda connection: work(connection, program, functions))


if __name__ == "__main__":
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what tools print is no output of the command
    logging.basicConfig(level=int(sys.argv[3]))
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
