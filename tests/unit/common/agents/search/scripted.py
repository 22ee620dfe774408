"""A policy and an environment that follow a script, each the whole protocol, for the tests of searches."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.agents.policy import Sampling
from common.agents.types import Action, Observation, Outcome, Status, Task, WrittenTurn
from common.sequences import Provenance
from common.toolbench.finish import finish, finish_with
from common.toolbench.react import Step as Call
from common.toolbench.react import render_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FINISH, complete_system_message
from tests.unit.common.toolbench.records import SYSTEM

LOOK = {"name": "look", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}}
MESSAGE = f"{SYSTEM}Task description: look around."
OPENING = (Turn("system", complete_system_message(MESSAGE, [LOOK, FINISH])), Turn("user", "\nwhere is it?\nBegin!\n"))
SAMPLING = Sampling(seed=7)


def call(arguments: str = "{}", thought: str = "", name: str = "look") -> str:
    return render_step(Call(thought, name, arguments))


def answer(text: str, thought: str = "") -> str:
    return render_step(finish_with(text, thought))


NO_SUCH_FUNCTION = '{"error": "No such function name: %s", "response": ""}'
ANSWERED = '{"response":"successfully giving the final answer."}'
GIVE_UP = call('{"return_type": "give_up_and_restart"}', name="Finish")


class ScriptedPolicy:
    """Writes the next turns of its script, or raises what stands there; `asked` is what it was asked for them."""

    def __init__(self, *script: str | Exception, provenance: Provenance = "student", then: str | None = None) -> None:
        self.script, self.then = list(script), then
        self.provenance: Provenance = provenance
        self.asked: list[tuple[tuple[Turn, ...], Sampling]] = []

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        self.asked.append((tuple(turns), sampling))
        return [self._next(sampling) for _ in range(sampling.n)]

    @property
    def prompts(self) -> list[tuple[Turn, ...]]:
        """What stood behind the opening when it was asked."""
        return [turns[len(OPENING) :] for turns, _ in self.asked]

    def _next(self, sampling: Sampling) -> WrittenTurn:
        written = self.script.pop(0) if self.script else self.then
        if isinstance(written, Exception):
            raise written
        assert written is not None, "the search asks for more turns than the script has"
        return WrittenTurn(sampling.prefix + written, "stop", "r1", (1, 2), prompt_tokens=10, completion_tokens=2)


@dataclass
class Counts:
    """What an environment and all its forks have done."""

    runs: list[str] = field(default_factory=list)
    """Arguments of each call that was executed, by whichever fork."""
    made: int = 0
    closed: set[int] = field(default_factory=set)
    """Which forks were closed, of `made`, numbered from 1."""


Answers = Callable[["ScriptedEnvironment", Action], Observation]


def world(look: Mapping[str, Observation | Exception] | None = None) -> Answers:
    """Answers to `look` by its arguments, which it otherwise repeats, to Finish as ToolBench's, and to nothing else."""

    def answers(_: ScriptedEnvironment, action: Action) -> Observation:
        if action.name == "look":
            found = (look or {}).get(action.arguments, Observation(f"saw {action.arguments}", Status.OK))
            if isinstance(found, Exception):
                raise found
            return found
        if action.name != "Finish":
            return Observation(NO_SUCH_FUNCTION % action.name, Status.NO_SUCH_FUNCTION)
        text, status, given = finish(action.arguments)
        return Observation(text, status, given is not None)

    return answers


class ScriptedEnvironment:
    """Executes actions by `answers`; its state is what was called in it."""

    def __init__(self, answers: Answers | None = None, state: Sequence[str] = (), counts: Counts | None = None) -> None:
        self.answers, self.state = answers or world(), list(state)
        self.counts = counts or Counts()
        self.number = self.counts.made
        self.open = True

    async def reset(self, task: Task) -> list[Turn]:
        self.state = []
        return list(OPENING)

    async def step(self, action: Action) -> tuple[Observation, bool]:
        assert self.open, "a closed environment is used"
        self.counts.runs.append(action.arguments)
        self.state.append(action.arguments)
        observation = self.answers(self, action)
        return observation, observation.status in (Status.FINISHED, Status.GAVE_UP)

    async def fork(self) -> "ScriptedEnvironment":
        assert self.open, "a closed environment is forked"
        self.counts.made += 1
        return ScriptedEnvironment(self.answers, self.state, self.counts)

    async def close(self) -> None:
        self.open = False
        self.counts.closed.add(self.number)

    @property
    def only_forks_are_closed(self) -> bool:
        """Whether every fork is closed, and what they were made of is not."""
        return self.counts.closed == set(range(1, self.counts.made + 1))


def run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    return asyncio.run(work)
