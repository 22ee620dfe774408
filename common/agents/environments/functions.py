"""Python functions as an environment: a user's own tools, offered and answered as ToolBench does.

Each episode's functions run in a process of their own, which a fork server makes in milliseconds. Hence what a call may
do to other episodes, whatever it does: nothing. One that takes too long is killed with its process; the next call gets
a new one. Only what functions keep between calls is lost then, so such an episode's later calls are answered by
SENDING_FAILED. It is no sandbox: the tools are the user's own, and trusted.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Self

from common.agents.environment import InfrastructureFailure
from common.agents.environments.answers import BadArguments, failure, no_such_function, opening, read_arguments
from common.agents.environments.function_calls.description import Function, describe_function, resolve_annotations
from common.agents.environments.function_calls.frames import Ended
from common.agents.environments.function_calls.modules import load_module
from common.agents.environments.function_calls.process import ForkServer, Worker, WorkerProblem
from common.agents.environments.function_calls.worker import Program, Success
from common.agents.types import Action, Observation, Status, Task
from common.errors import UserError
from common.toolbench.finish import NAME, finish
from common.toolbench.rows import Turn

Tools = Sequence[Function] | Callable[[], Sequence[Function]]


class FunctionTools:
    """A user's functions, from which environments are made, one for each episode in flight."""

    def __init__(self, tools: Tools, success: Success | None = None) -> None:
        """`tools` are functions that keep nothing between calls, or a function that makes an episode's functions.

        `success` tells from the task, the final answer and the observations before it, whole, whether it is solved.
        Raises UserError where a function can't be offered, or handed to a process.
        """
        self.keeps_state = callable(tools)
        functions = tools() if callable(tools) else list(tools)
        self.judges = success is not None
        self.offers = {each.name: each.offer for each in map(describe_function, functions)}
        if len(self.offers) < len(functions) or not functions:
            names = ", ".join(each.__name__ for each in functions) or "none"
            raise UserError(f"got the tools {names}; expected some, whose names differ in lower case")
        for function in functions:
            resolve_annotations(function)
        make_tools = tools if callable(tools) else partial(list, functions)
        self._server = ForkServer(Program(make_tools, success, self.keeps_state))

    @classmethod
    def of_module(cls, module: str) -> Self:
        """The `tools` of a Python file, or of a module by its dotted name, and its `success` where it has one.

        Raises UserError.
        """
        found = load_module(module)
        tools = getattr(found, "tools", None)
        if tools is None:
            raise UserError(f"{module} has no tools; set tools = [...] there, or define tools() that returns them")
        return cls(tools, getattr(found, "success", None))

    def environment(self) -> "FunctionEnvironment":
        """An environment, for one episode at a time."""
        return FunctionEnvironment(self)

    async def worker(self) -> Worker:
        """A process with functions that were made anew. Raises InfrastructureFailure."""
        return await self._server.worker()

    def close(self) -> None:
        """End all processes. So does the end of this object."""
        self._server.close()


class FunctionEnvironment:
    """Answers one episode's calls by the functions of `tools`."""

    def __init__(self, tools: FunctionTools) -> None:
        self._tools = tools
        self._task: Task | None = None
        self._worker: Worker | None = None
        self._observations: list[Observation] = []

    async def reset(self, task: Task) -> list[Turn]:
        """As `Environment.reset`."""
        await self.close()
        self._worker = await self._tools.worker()
        self._task, self._observations = task, []
        offers = list(self._tools.offers.values())
        return opening(task.query, offers, {offer["name"]: offer["description"] for offer in offers})

    async def step(self, action: Action) -> tuple[Observation, bool]:
        """As `Environment.step`. What keeps state is lost with a call that ends its process or takes too long."""
        if self._task is None:
            raise RuntimeError("step before reset: no episode runs")
        if action.name == NAME:
            return await self._finish(self._task, action.arguments)
        observation = await self._answer(action)
        self._observations.append(observation)
        return observation, False

    async def close(self) -> None:
        """As `Environment.close`."""
        if self._worker is not None:
            self._worker.kill()

    async def fork(self) -> Self:
        """As `ForkableEnvironment.fork`. Raises UserError where what the functions keep can't be copied."""
        other = type(self)(self._tools)
        other._task, other._observations = self._task, list(self._observations)
        if self._worker is not None and self._worker.alive:
            other._worker = await self._copied(self._worker)
        return other

    async def _answer(self, action: Action) -> Observation:
        if action.name not in self._tools.offers:
            return no_such_function(action.name)
        try:
            request = {"call": action.name, "arguments": read_arguments(action.arguments)}
        except BadArguments as error:
            return failure(str(error), Status.BAD_INPUT)
        worker = await self._living()
        if worker is None:
            return failure("what the functions kept was lost with an earlier call", Status.SENDING_FAILED)
        try:
            reply = await worker.ask(request)
        except Ended:
            return failure(f"{action.name} ended its process", Status.SENDING_FAILED)
        except WorkerProblem as error:
            raise InfrastructureFailure(f"the tools' process: {error}") from None
        return Observation(reply["text"], Status(reply["status"]))

    async def _living(self) -> Worker | None:
        """The episode's process; another in its place if it has ended, unless that lacks what its functions kept."""
        if self._worker is None or not self._worker.alive:
            if self._tools.keeps_state:
                return None
            self._worker = await self._tools.worker()
        return self._worker

    async def _copied(self, worker: Worker) -> Worker:
        other = await self._tools.worker()
        try:
            if self._tools.keeps_state:
                await other.ask_aside(await worker.ask_aside({"copy": True}))
        except WorkerProblem as error:
            other.kill()
            raise UserError(
                f"what the tools keep can't be copied ({error}); keep what pickles, or search without forks"
            ) from None
        return other

    async def _finish(self, task: Task, arguments: str) -> tuple[Observation, bool]:
        finished = finish(arguments)
        if finished.status == Status.BAD_INPUT:
            return Observation(finished.text, finished.status), False
        if not self._tools.judges or finished.answer is None:
            return Observation(finished.text, finished.status, False if self._tools.judges else None), True
        solved = await self._judge(task, finished.answer)
        return Observation(finished.text, finished.status, solved), True

    async def _judge(self, task: Task, answer: str) -> bool:
        seen = [(each.text, int(each.status)) for each in self._observations]
        worker = await self._living() or await self._tools.worker()
        try:
            reply = await worker.ask_aside({"judge": asdict(task), "answer": answer, "observations": seen})
        except WorkerProblem as error:
            raise InfrastructureFailure(f"success of the task {task.id} can't be told: {error}") from None
        finally:
            if worker is not self._worker:
                worker.kill()
        return bool(reply["solved"])
