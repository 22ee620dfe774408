"""Policies and environments that do as they are told, for tests of what is made of them."""

import asyncio
from collections.abc import Callable, Sequence

from common.agents.environment import InfrastructureFailure
from common.agents.policy import Sampling
from common.agents.types import Action, Observation, Status, Task, WrittenTurn
from common.sequences import Provenance
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn

Writes = Callable[[Sequence[Turn], int], str]
"""The text of a turn, from the turns before it and its seed."""


def call(name: str, arguments: str = "{}", thought: str = "go on") -> str:
    """A turn that calls a function."""
    return render_step(Step(thought, name, arguments))


FINISH = call("Finish", '{"return_type": "give_answer", "final_answer": "42"}')
GIVE_UP = call("Finish", '{"return_type": "give_up_and_restart"}')


class ScriptedPolicy:
    """Writes what `writes` says, taking `seconds` for it, and remembers what it was asked."""

    provenance: Provenance = "student"

    def __init__(self, writes: Writes, seconds: float = 0) -> None:
        self._writes, self._seconds = writes, seconds
        self.asked: list[tuple[Turn, ...]] = []
        self.samplings: list[Sampling] = []

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        self.asked.append(tuple(turns))
        self.samplings.append(sampling)
        await asyncio.sleep(self._seconds)
        texts = [sampling.prefix + self._writes(turns, sampling.seed + i) for i in range(sampling.n)]
        return [WrittenTurn(text, "stop", "r", (1, 2), "", 10, 2) for text in texts]


class ScriptedEnvironment:
    """Answers every call with its number, Finish by the end; `breaks` names functions that infrastructure fails at."""

    def __init__(self, breaks: set[str] | None = None, seconds: float = 0) -> None:
        self._breaks, self._seconds = breaks if breaks is not None else set(), seconds
        self.calls: list[str] = []
        self.closed = 0

    async def reset(self, task: Task) -> list[Turn]:
        self.calls = []
        return [Turn("system", "You have functions."), Turn("user", f"\n{task.query}\nBegin!\n")]

    async def step(self, action: Action) -> tuple[Observation, bool]:
        await asyncio.sleep(self._seconds)
        self.calls.append(action.name)
        if action.name in self._breaks:
            raise InfrastructureFailure(f"{action.name} is unplugged")
        if action.name != "Finish":
            return Observation(f"{action.name}: {len(self.calls)}", Status.OK), False
        gave_up = "give_up" in action.arguments
        return Observation("", Status.GAVE_UP if gave_up else Status.FINISHED, solved=not gave_up), True

    async def close(self) -> None:
        self.closed += 1

    async def fork(self) -> "ScriptedEnvironment":
        other = ScriptedEnvironment(self._breaks, self._seconds)
        other.calls = list(self.calls)
        return other
