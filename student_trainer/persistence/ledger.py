"""The ledger: what became of every planned prompt, so that none is lost or used twice unseen.

`used.jsonl` names the prompts that a step trained on, `quarantine.jsonl` those that gave no example, and why. Rank 0
writes both, of all workers, in the global order.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import files, jsonl
from common.run_folder import RunFolder
from student_trainer.data.plan import Unused, Used
from student_trainer.persistence import step_lines

Entry = Used | Unused


def append(run_folder: Path, step: int, entries: list[Entry]) -> None:
    """Write down what became of the prompts of `step`, which is done.

    Raises UserError when it can't be written.
    """
    for file, kind in zip(_ledgers(run_folder), (Used, Unused), strict=True):
        own = (entry for entry in entries if isinstance(entry, kind))
        jsonl.append(file, (_line(step, entry) for entry in own))


def _line(step: int, entry: Entry) -> dict[str, Any]:
    values = vars(entry) | {"step": step, **asdict(entry.key)}
    return {name: values[name] for name in ("step", "id", "epoch", "index", "kind", "reason") if name in values}


def cut_back(run_folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which a resumed run takes again."""
    for file in _ledgers(run_folder):
        step_lines.cut_back(file, "step", step)


def flush(run_folder: Path) -> None:
    """Bring the ledger to the disk."""
    for file in _ledgers(run_folder):
        files.flush(file)


def _ledgers(run_folder: Path) -> tuple[Path, Path]:
    return RunFolder(run_folder).used, RunFolder(run_folder).quarantine
