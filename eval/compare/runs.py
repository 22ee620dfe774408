"""A run folder as a report needs it: the lines of its metrics and its summary, whichever are there."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from common import jsonl
from common.run_folder import RunFolder

STEP = "progress/step"


@dataclass(frozen=True)
class Run:
    """What a run wrote down; `problems` says what of it is missing or can't be read."""

    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def series(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of the lines that have the metric `name`, as numbers."""
        pairs = ((line.get(STEP), line.get(name)) for line in self.metrics)
        return [(step, value) for step, value in pairs if _is_number(step) and _is_number(value)]


def read_run(folder: Path) -> Run:
    """The run in `folder`."""
    files, problems = RunFolder(folder), []
    if not folder.is_dir():
        return Run([], {}, [f"there is no run folder {folder.name}"])
    lines = [_object(line) for line in jsonl.whole_lines(files.metrics)]
    if not lines:
        problems.append("it has no metrics")
    if broken := sum(line is None for line in lines):
        problems.append(f"{broken} lines of its metrics can't be read")
    summary = _object(files.summary.read_bytes()) if files.summary.is_file() else None
    if summary is None:
        problems.append("it has no summary: it isn't finished")
    return Run([line for line in lines if line is not None], summary or {}, problems)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
