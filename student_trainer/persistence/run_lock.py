"""The run folder's lock: one group of workers at a time writes there."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import UserError
from common.run_folder import RunFolder

PATIENCE_S = 60.0
"""How long a worker waits for its predecessor, whose group Ray may still be ending."""

log = logging.getLogger(__name__)


@contextmanager
def locked(run_folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the folder's lock, which the operating system frees however this process ends.

    Where the storage has no locks, as some network file systems, that is only said. Raises UserError naming the holder
    when it isn't free within `patience_s`.
    """
    file = RunFolder(run_folder).lock
    # never a lock by a file's mere existence: it would outlive a killed process
    lock = FileLock(file, patience_s, poll_interval=0.2, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout:
        holder = file.read_text() or "unknown"
        raise UserError(
            f"another run writes to {run_folder} ({holder}); wait for its end, stop it, or choose another run_folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        log.warning("%s can't be locked (%s): see to it that no other run writes there", run_folder, error)
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
