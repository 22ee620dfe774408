"""Rows that offer a function, and settings of short runs on them."""

from pathlib import Path
from typing import Any

from common.toolbench.rows import PromptRow, Turn
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.students import SFT, short_run

SYSTEM = "\nSpecifically, you have access to the following APIs: [{'name': 'go'}]"
GOOD = "\nThought: x\nAction: go\nAction Input: {}"
LONGEST, NEW_TOKENS = 240, 48


def offering_row(number: int, completion: str | None = GOOD) -> PromptRow:
    """A row of some 95 tokens, more with each number, that offers the function `go`."""
    turns = (Turn("system", SYSTEM), Turn("user", "x" * number))
    return PromptRow(f"row-{number}", "x", turns, completion, f"trace-{number}", 1, "train")


def watched_run(tmp_path: Path, **changes: Any) -> TrainSettings:
    """A run without a teacher on 20 such rows, its student whole, watched after every other step."""
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 20, "max_length": LONGEST}
    watchdog = {"every": 2, "prompts": 5, "max_new_tokens": NEW_TOKENS, "time_share": 1.0}
    rows = [offering_row(number) for number in range(20)]
    return short_run(tmp_path, rows=rows, **({"data": data, "watchdog": watchdog} | SFT | changes))
