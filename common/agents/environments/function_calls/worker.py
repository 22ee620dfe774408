"""A worker: the process in which one episode's functions run, and keep what they keep between calls.

A request and its reply are frames of JSON on a socket, one at a time. The process ends when the socket does.
"""

import asyncio
import base64
import logging
import pickle
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import cloudpickle

from common.agents.environments.answers import one_line
from common.agents.environments.function_calls.description import DescribedFunction, Function, describe_function
from common.agents.environments.function_calls.frames import Frame, receive_frame, send_frame
from common.agents.environments.function_calls.results import call
from common.agents.types import Observation, Status, Task

Success = Callable[[Task, str, Sequence[Observation]], bool]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """What workers run."""

    make_tools: Callable[[], Sequence[Function]]
    success: Success | None
    keeps_state: bool
    """Whether each episode's functions are made anew, since they keep what concerns the episode."""


@dataclass
class Worker:
    """One episode's functions."""

    success: Success | None
    functions: Mapping[str, DescribedFunction]
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def answer(self, request: Frame) -> Frame:
        """What a request brings: a call, a verdict, a copy of the functions' state, or another's state taken over.

        Raises whatever a user's own code raises, but for what tools do when they are called.
        """
        match request:
            case {"call": name, "arguments": arguments}:
                observation = call(self.functions[name], arguments, self.runner)
                return {"text": observation.text, "status": observation.status}
            case {"judge": task, "answer": answer, "observations": observations}:
                seen = [Observation(text, Status(status)) for text, status in observations]
                return {"solved": self._judge(Task(**task), answer, seen)}
            case {"copy": _}:
                calls = [function.call for function in self.functions.values()]
                return {"state": base64.b64encode(cloudpickle.dumps(calls)).decode()}
            case {"state": state}:
                self.functions = described(pickle.loads(base64.b64decode(state)))
        return {}

    def _judge(self, task: Task, answer: str, observations: Sequence[Observation]) -> bool:
        verdict = self.success(task, answer, observations) if self.success else None
        if not isinstance(verdict, bool):
            raise TypeError(f"success returned {verdict!r}, expected True or False")
        return verdict


def work(connection: socket.socket, program: Program, functions: Mapping[str, DescribedFunction]) -> None:
    """Answer requests by `functions`, or by those that are made for this episode.

    What goes wrong outside of a call is told, and ends the worker.
    """
    stream = connection.makefile("rwb")
    try:
        worker = Worker(program.success, described(program.make_tools()) if program.keeps_state else functions)
        send_frame(stream, {})
        while request := receive_frame(stream):
            send_frame(stream, worker.answer(request))
    except Exception as error:  # a user's code may raise anything; whoever asked is told
        log.debug("a worker ends", exc_info=True)
        with suppress(OSError):
            send_frame(stream, {"problem": one_line(f"{type(error).__name__}: {error}")})


def described(functions: Sequence[Function]) -> dict[str, DescribedFunction]:
    """The functions by the names that prompts offer them by. Raises UserError as `describe_function`."""
    return {each.name: each for each in map(describe_function, functions)}
