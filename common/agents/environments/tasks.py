"""Tasks of a user's own, from a file of JSON Lines."""

import json
from pathlib import Path

from common.agents.trajectories import check_ids
from common.agents.types import Task
from common.errors import UserError
from common.toolbench.fields import take


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file with a `{"id": …, "query": …}` a line; what else a line holds is the task's `data`.

    Raises UserError, naming file and line, where there is none, a line is none, or two tasks have one id.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the tasks in {path}: {error}") from None
    tasks = [_read_task(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not tasks:
        raise UserError(f'{path} holds no tasks; expected a line {{"id": "…", "query": "…"}} for each')
    check_ids((task.id for task in tasks), f"the tasks in {path}")
    return tasks


def _read_task(line: str, place: str) -> Task:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is no JSON ({error}); expected an object with id and query") from None
    id, query = take(record, "id", str, place), take(record, "query", str, place)
    return Task(id, query, data={key: value for key, value in record.items() if key not in ("id", "query")})
