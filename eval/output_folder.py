"""The output folder of an evaluation that can be resumed: one process at a time writes to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import UserError


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder`, which is made, for this process; `what` says for messages what is written there.

    Raises UserError where another process holds it, or it can't be written to.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another {what} writes to {folder}; wait for it, or give another output folder") from None
    except OSError as error:
        raise UserError(f"can't write to {folder}: {error.strerror}; give another output folder") from None
    try:
        yield
    finally:
        lock.release()
