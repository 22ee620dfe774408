"""Files of JSON lines (`common.jsonl`) that grow by a step at a time, and are cut back to a step on resumption.

What a crash left behind the last whole line is passed over by readers and cut off on resumption.
"""

import json
import math
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_atomically
from common.jsonl import Line, whole_lines


def read(file: Path, key: str) -> list[Line]:
    """All lines, which have their step's number at `key` and ascend by it; none where there is no file.

    Raises UserError naming one that is damaged.
    """
    return [line for _, line in _intact(file, key)]


def cut_back(file: Path, key: str, step: int) -> None:
    """Drop what stands after `step`, by each line's number at `key`, and what is torn.

    Whenever the machine ends, the file is there as it was or as it should be. Raises UserError when it can't be
    written, and naming a line up to `step` that is damaged.
    """
    if not file.exists():
        return
    kept = [written for written, _ in _intact(file, key, step)]
    try:
        write_atomically(file, b"".join(kept))
    except OSError as error:
        raise UserError(f"can't cut {file} back to step {step}: {error.strerror}; free space and resume") from None


def _intact(file: Path, key: str, step: float = math.inf) -> list[tuple[bytes, Line]]:
    """The lines up to the last one of `step`, as they are written and read. What a crash left comes after that."""
    found = [(written, _read(written, key)) for written in whole_lines(file)]
    last = max((number for number, (_, line) in enumerate(found, 1) if line and line[key] <= step), default=0)
    intact = []
    for number, (written, line) in enumerate(found[:last], 1):
        if line is None:
            raise UserError(
                f"line {number} of {file} is damaged; restore the file, or delete that line: of its step the file then "
                "tells less"
            )
        intact.append((written, line))
    return intact


def _read(written: bytes, key: str) -> Line | None:
    try:
        line: Any = json.loads(written)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get(key), int) else None
