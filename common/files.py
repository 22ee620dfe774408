"""Files and folders that appear whole or not at all, and stay after a loss of power.

Each is written aside, brought to the disk and renamed into its place; what a crash leaves aside is removed by the next
try. One process at a time may write to a place.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Give the file `path` new contents, text as UTF-8. Raises OSError, and what was there is then as it was."""
    with file_in_place(path) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def file_in_place(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path` when the block ends; not where it raises."""
    draft = _beside(path)
    try:
        yield draft
        flush(draft)
        draft.replace(path)
        flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def folder_in_place(path: Path) -> Iterator[Path]:
    """A new folder that becomes `path`, or what that links to, when the block ends; not where it raises.

    What is there is replaced. Raises UserError, before the block, where it can't be.
    """
    path = _replaceable(path)
    draft = _beside(path)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        for each in (*draft.rglob("*"), draft):
            flush(each)
        shutil.rmtree(path, ignore_errors=True)
        draft.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def flush(path: Path) -> None:
    """Return when the file's contents, or the folder's names, are on the disk; nothing where there is no such path."""
    if path.exists():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replaceable(path: Path) -> Path:
    """The folder that `path` means, links followed; UserError where it can't be replaced."""
    folder = Path(os.path.realpath(path))
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{path} is there and is no folder; give another output folder, or remove it")
    if Path.cwd().is_relative_to(folder):
        raise UserError(f"got {path}, which is or holds the folder that this runs in; give a folder below it")
    if folder.is_mount():
        raise UserError(f"got {path}, a mount point, which can't be replaced; give a folder below it")
    return folder


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
