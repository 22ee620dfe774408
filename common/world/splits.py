"""A world's tasks, split by split: which tools training sees is what tells them apart."""

from collections.abc import Sequence
from random import Random

from common.errors import UserError
from common.world.catalogue import Tool
from common.world.make import make_world
from common.world.settings import WorldSettings
from common.world.tasks import Task
from common.world.world import World

TRAIN, QUERIES = "train", "queries_train"
"""Tasks with traces to train on, and others of training tools, which no trace shows."""
SPLITS = (TRAIN, QUERIES, "seen", "unseen_tool", "unseen_category")
MOST_KNOWN = 10_000
"""Queries drawn in a row that all were known before: then there are no new ones to speak of."""


def draw_splits(settings: WorldSettings) -> dict[str, list[Task]]:
    """Return the tasks of every split of the world. No query stands in two of them.

    Raises UserError when the world hasn't that many different queries.
    """
    world = make_world(settings)
    tools, held_out = world.catalogue, settings.evaluation_tasks
    queries: set[str] = set()

    def draw(split: str, tools: Sequence[Tool], count: int) -> list[Task]:
        return new_tasks(Random(f"{settings.seed} {split}"), world, tools, count, queries)

    train = draw(TRAIN, tools.train, settings.train_tasks)
    shown = {api.tool for task in train for api in task.apis}
    return {
        TRAIN: train,
        QUERIES: draw(QUERIES, tools.train, settings.query_tasks),
        "seen": draw("seen", [tool for tool in tools.train if tool.name in shown], held_out),
        "unseen_tool": draw("unseen_tool", tools.unseen_tool, held_out),
        "unseen_category": draw("unseen_category", tools.unseen_category, held_out),
    }


def new_tasks(rng: Random, world: World, tools: Sequence[Tool], count: int, queries: set[str]) -> list[Task]:
    """Draw `count` tasks on `tools` whose queries are not in `queries`, and add them to it.

    Raises UserError when the tools don't give that many different queries.
    """
    tasks: list[Task] = []
    known = 0
    drawn = world.tasks(rng, tools)
    while len(tasks) < count:
        if known == MOST_KNOWN:
            raise UserError(f"got {count} tasks, but {len(tools)} tools gave {len(tasks)} new queries: ask for fewer")
        task = next(drawn)
        if task.query not in queries:
            queries.add(task.query)
            tasks.append(task)
            known = 0
        else:
            known += 1
    return tasks
