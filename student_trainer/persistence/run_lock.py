"""The run folder's lock: one group of workers at a time writes there."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from common.errors import UserError
from common.run_folder import RunFolder

PATIENCE_S = 60.0
"""How long a worker waits for its predecessor, whose group Ray may still be ending."""

log = logging.getLogger(__name__)


@contextmanager
def locked(run_folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the folder's lock, which the operating system frees however this process ends.

    Raises UserError naming the holder when it isn't free within `patience_s`.
    """
    with RunFolder(run_folder).lock.open("a+") as stream:
        _acquire(stream, run_folder, patience_s)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield


def _acquire(stream: IO[str], run_folder: Path, patience_s: float) -> None:
    busy = retry_if_exception_type(BlockingIOError)
    try:
        Retrying(stop=stop_after_delay(patience_s), wait=wait_fixed(0.2), retry=busy)(
            fcntl.flock, stream, fcntl.LOCK_EX | fcntl.LOCK_NB
        )
    except RetryError:
        stream.seek(0)
        raise UserError(
            f"another run writes to {run_folder} ({stream.read() or 'unknown'}); wait for its end, stop it, or choose "
            "another run_folder"
        ) from None
    except OSError as error:
        log.warning("%s can't be locked (%s): see to it that no other run writes there", run_folder, error.strerror)
