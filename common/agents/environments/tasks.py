"""Tasks of a user's own, from a file of JSON Lines."""

import json
from pathlib import Path

from common.agents.types import Task
from common.errors import UserError
from common.toolbench.fields import take


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file with a `{"id": …, "query": …}` a line; what else a line holds is the task's `data`.

    Raises UserError, naming file and line, where there is none, a line is none, or two tasks have one id.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the tasks in {path}: {error}") from None
    tasks: dict[str, Task] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            task = _read_task(line, f"{path}, line {number}")
            if task.id in tasks:
                raise UserError(f"{path}, line {number}: two tasks have the id {task.id!r}; give each its own")
            tasks[task.id] = task
    if not tasks:
        raise UserError(f'{path} holds no tasks; expected a line {{"id": "…", "query": "…"}} for each')
    return list(tasks.values())


def _read_task(line: str, place: str) -> Task:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is no JSON ({error}); expected an object with id and query") from None
    id, query = take(record, "id", str, place), take(record, "query", str, place)
    return Task(id, query, data={key: value for key, value in record.items() if key not in ("id", "query")})
