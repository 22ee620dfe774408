"""A world's folder: its settings, of which all else is a function, and its tasks split by split."""

import json
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.settings import load
from common.toolbench.react import render_step
from common.world.make import make_world
from common.world.settings import WorldSettings
from common.world.splits import SPLITS
from common.world.tasks import Task
from common.world.traces import floors, solution
from common.world.world import World

SETTINGS = "world.json"
Record = dict[str, Any]
_KEYS = {"id", "query", "functions", "asked", "solution", "floor_nats"}


def save_settings(folder: Path, settings: WorldSettings) -> None:
    """Write what `read_world` needs."""
    (folder / SETTINGS).write_text(settings.model_dump_json(indent=1), encoding="utf-8")


def read_world(folder: Path) -> World:
    """Return the world whose files stand in `folder`. Raises UserError where none do."""
    return make_world(load(WorldSettings, folder / SETTINGS))


def tasks_file(folder: Path, split: str) -> Path:
    """Where the tasks of a split stand. Raises UserError for a split that no world has."""
    if split not in SPLITS:
        raise UserError(f"got the split {split!r}, expected one of: {', '.join(SPLITS)}")
    return folder / f"tasks_{split}.json"


def task_record(task: Task, id: str) -> Record:
    """Return the task as JSON: the functions on offer, the facts asked for, the turns that solve it, their floors."""
    return {
        "id": id,
        "query": task.query,
        "functions": [api.function for api in task.apis],
        "asked": [list(fact) for fact in task.asked],
        "solution": [render_step(step) for step in solution(task)],
        "floor_nats": floors(task),
    }


def read_task_records(folder: Path, split: str) -> list[Record]:
    """Return the records of a split as `task_record` made them. Raises UserError where there are none."""
    path = tasks_file(folder, split)
    try:
        records: list[Record] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(
            f"can't read the tasks {path}: {error.strerror}; `python -m common.world` writes them"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}; write the world again") from None
    if not isinstance(records, list) or not all(isinstance(each, dict) and each.keys() == _KEYS for each in records):
        raise UserError(f"{path} holds other than tasks of this version; write the world again")
    return records
