"""Files of JSON lines that grow by a step at a time, and are cut back to a step when a run is resumed.

One process writes such a file. A line counts once its newline is there: what a crash, or a full disk, left behind the
last of them is passed over by readers and cut off on resumption. Appends are handed to the operating system at once, so
the end of the process loses none; once they were flushed (`files.flush`), the end of the machine loses none either.
"""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_atomically

Line = dict[str, Any]


def append(file: Path, lines: Iterable[Line]) -> None:
    """Add `lines`, all of them or none.

    Raises UserError when they can't be written, as on a full disk.
    """
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if not data:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab", buffering=0) as stream:
            _write_all(stream.fileno(), data)
    except OSError as error:
        raise UserError(f"can't append {len(data)} bytes to {file}: {error.strerror}; free space and resume") from None


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
    found = [(written, _read(written, key)) for written in _whole(file)]
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


def _whole(file: Path) -> list[bytes]:
    if not file.exists():
        return []
    with file.open("rb") as stream:
        return [line for line in stream if line.endswith(b"\n")]


def _read(written: bytes, key: str) -> Line | None:
    try:
        line: Any = json.loads(written)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get(key), int) else None


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, or leave the file as long as it was."""
    end, written = os.lseek(descriptor, 0, os.SEEK_END), 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, end)
        raise
