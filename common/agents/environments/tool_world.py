"""The generated tool world as an environment: its calls are executed, and a task is solved or not."""

from pathlib import Path
from random import Random
from typing import Self

from common.agents.types import Action, Observation, Status, Task
from common.errors import UserError
from common.toolbench.finish import NAME, finish
from common.toolbench.rows import Turn
from common.world.catalogue import shuffle_descriptions
from common.world.checking import solves
from common.world.entities import Attribute, Fact
from common.world.execute import execute, no_such_function
from common.world.saved import read_task_records, read_world
from common.world.traces import opening
from common.world.world import World


def read_tasks(folder: Path, split: str) -> list[Task]:
    """The tasks of a world's split: train, queries_train, seen, unseen_tool or unseen_category.

    Their `data` holds the functions on offer, the facts asked for, the `solution`, turns in ReAct form, and
    how surprising each has to be, `floor_nats`. Raises UserError where `folder` has no such tasks.
    """
    return [Task(record.pop("id"), record.pop("query"), split, record) for record in read_task_records(folder, split)]


class ToolWorldEnvironment:
    """Answers the calls of one episode at a time, and judges its final answer by what they told."""

    def __init__(self, world: World, shuffled: bool = False) -> None:
        """`shuffled`: descriptions are shuffled among the functions that tell facts, as a control."""
        self._world, self._shuffled = world, shuffled
        self._task: Task | None = None
        self._told: frozenset[Fact] = frozenset()

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """On the world whose files stand in `folder`. Raises UserError where none do."""
        return cls(read_world(folder))

    async def reset(self, task: Task) -> list[Turn]:
        """As `Environment.reset`. Raises UserError for a task of another world."""
        strangers = set(task.data["functions"]) - set(self._world.functions)
        if strangers:
            raise UserError(
                f"the task {task.id} offers {', '.join(sorted(strangers))}, which its world hasn't: write it again"
            )
        self._task, self._told = task, frozenset()
        apis = [self._world.functions[name] for name in task.data["functions"]]
        return opening(shuffle_descriptions(apis, Random(task.id)) if self._shuffled else apis, task.query)

    async def step(self, action: Action) -> tuple[Observation, bool]:
        """As `Environment.step`. Only functions on offer exist."""
        task = self._running()
        if action.name == NAME:
            return self._finish(task, action.arguments)
        if action.name not in task.data["functions"]:
            response = no_such_function(action.name)
            return Observation(response.text, response.status), False
        response = execute(self._world, action.name, action.arguments)
        self._told |= frozenset(response.facts)
        return Observation(response.text, response.status), False

    async def close(self) -> None:
        """As `Environment.close`: there is nothing to give back."""

    async def fork(self) -> Self:
        """As `ForkableEnvironment.fork`."""
        other = type(self)(self._world, self._shuffled)
        other._task, other._told = self._task, self._told
        return other

    def _finish(self, task: Task, arguments: str) -> tuple[Observation, bool]:
        text, status, answer = finish(arguments)
        if status == Status.BAD_INPUT:
            return Observation(text, status), False
        asked = [Fact(thing, name, Attribute(*attribute)) for thing, name, attribute in task.data["asked"]]
        solved = answer is not None and solves(self._world, task.query, asked, self._told, answer)
        return Observation(text, status, solved), True

    def _running(self) -> Task:
        if self._task is None:
            raise RuntimeError("step before reset: no episode runs")
        return self._task
