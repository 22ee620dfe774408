"""Files of JSON lines that grow by a step at a time, and are cut back to a step when a run is resumed.

One process writes such a file. A line counts once its newline is there: what a crash, or a full disk, left of another
is passed over by readers and cut off on resumption. Appends are handed to the operating system at once, so the end of
the process loses none; `flush` brings them to the disk, so that the end of the machine loses none either.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError

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


def read(file: Path) -> list[Line]:
    """All whole lines; none where there is no file. Raises UserError naming one that is damaged."""
    return [line for _, line in _whole(file)]


def cut_back(file: Path, key: str, step: int) -> None:
    """Drop what stands after `step`, by each line's number at `key`, and what is torn.

    The file is replaced by a shorter one that is on the disk already: whenever the machine ends, one of the two is
    there, whole. Raises UserError when it can't be written, and naming a line that is damaged.
    """
    if not file.exists():
        return
    kept = [written for written, line in _whole(file) if line.get(key, 0) <= step]
    try:
        replace(file, b"".join(kept))
    except OSError as error:
        raise UserError(f"can't cut {file} back to step {step}: {error.strerror}; free space and resume") from None


def replace(file: Path, data: bytes) -> None:
    """Give `file` new contents at once, and for good: what rename promises once both file and folder are flushed."""
    draft = file.with_name(f".{file.name}.partial")
    draft.write_bytes(data)
    flush(draft)
    draft.replace(file)
    flush(file.parent)


def flush(path: Path) -> None:
    """Return when the file's contents, or the folder's names, are on the disk; nothing where there is no such path."""
    if path.exists():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _whole(file: Path) -> list[tuple[bytes, Line]]:
    """Each whole line as it is written, and read."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        return [
            (written, _read(written, number, file)) for number, written in enumerate(stream, 1) if written[-1:] == b"\n"
        ]


def _read(written: bytes, number: int, file: Path) -> Line:
    try:
        line: Line = json.loads(written)
    except ValueError as error:
        raise UserError(
            f"line {number} of {file} is damaged ({error}); restore the file, or delete that line: of its step the "
            "file then tells less"
        ) from None
    return line


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
