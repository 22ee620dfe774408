"""The revision of the teacher that a run began with, kept in its folder."""

import json
from pathlib import Path

TEACHER, USED = "teacher.json", "used.jsonl"


def recall(run_folder: Path) -> str | None:
    """The revision that the run began with; None where no step of it was kept. Call it after the ledger is cut back."""
    used, file = run_folder / USED, run_folder / TEACHER
    if not (used.exists() and used.stat().st_size and file.exists()):
        return None
    return str(json.loads(file.read_text())["revision"])


def remember(run_folder: Path, revision: str) -> None:
    """Write down what the run began with."""
    run_folder.mkdir(parents=True, exist_ok=True)
    draft = run_folder / f"{TEACHER}.part"
    draft.write_text(json.dumps({"revision": revision}) + "\n")
    draft.replace(run_folder / TEACHER)
