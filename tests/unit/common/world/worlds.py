"""Small worlds of every difficulty, drawn once."""

from functools import lru_cache
from typing import get_args

from common.world.make import make_world
from common.world.settings import Difficulty, WorldSettings
from common.world.splits import draw_splits
from common.world.tasks import Task
from common.world.world import World

DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)


def settings(difficulty: Difficulty) -> WorldSettings:
    """Of the shipped sizes, but for the tasks."""
    return WorldSettings(difficulty=difficulty, query_tasks=100, evaluation_tasks=100, corpus_documents=0)


@lru_cache
def drawn(difficulty: Difficulty) -> tuple[World, dict[str, list[Task]]]:
    """The world and its tasks, split by split."""
    return make_world(settings(difficulty)), draw_splits(settings(difficulty))
