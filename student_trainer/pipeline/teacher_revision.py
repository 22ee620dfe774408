"""The revision of the teacher that a run began with, kept in its folder."""

import json
from pathlib import Path

from common.files import write_atomically
from common.run_folder import RunFolder


def recall(run_folder: Path) -> str | None:
    """The revision that the run began with; None where no step of it was kept. Call it after the ledger is cut back."""
    used, file = RunFolder(run_folder).used, RunFolder(run_folder).teacher
    if not (used.exists() and used.stat().st_size and file.exists()):
        return None
    return str(json.loads(file.read_text())["revision"])


def remember(run_folder: Path, revision: str) -> None:
    """Write down what the run began with."""
    run_folder.mkdir(parents=True, exist_ok=True)
    write_atomically(RunFolder(run_folder).teacher, json.dumps({"revision": revision}) + "\n")
