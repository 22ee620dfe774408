"""Files of JSON lines that grow.

One process writes such a file. A line counts once its newline is there: what a crash, or a full disk, left behind the
last of them is passed over by readers. Appends are handed to the operating system at once, so the end of the process
loses none; once they were flushed (`files.flush`), the end of the machine loses none either.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from common.errors import UserError

Line = dict[str, Any]
T = TypeVar("T")


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


def cut_torn_line(file: Path) -> None:
    """Cut off what stands behind the last whole line, so that lines can be added again; for the file's writer alone."""
    if file.exists() and file.stat().st_size > (whole := sum(map(len, whole_lines(file)))):
        os.truncate(file, whole)


def whole_lines(file: Path) -> list[bytes]:
    """The lines that were written to their end; none where there is no file."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        return [line for line in stream if line.endswith(b"\n")]


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


def parse(line: bytes, adapter: TypeAdapter[T], where: str, what: str, remedy: str) -> T:
    """The line as `adapter` reads it. Raises UserError: which line is no `what`, the field in error, and the remedy."""
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{where} is no {what} ({place}: {problem['msg']}); delete that line, and {remedy}") from None
