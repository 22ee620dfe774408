"""Process trees that can't escape: a subreaper adopts every orphan below it, whatever it detached from."""

import contextlib
import ctypes
import os
import signal
import time

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
_LIBC = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Adopt every orphan among this process's descendants from now on (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent dies, even by SIGKILL. Made for `Popen(preexec_fn=…)`."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def descendants(parent: int | None = None) -> list[psutil.Process]:
    """Every living process below `parent`, else below this one; the dead that nobody waited for are left out."""
    return [process for process in psutil.Process(parent).children(recursive=True) if _lives(process)]


def end(processes: list[psutil.Process], grace_s: float) -> None:
    """Ask `processes` to end, and kill those that still live after `grace_s` seconds."""
    _signal(processes, signal.SIGTERM)
    stubborn = _wait(processes, grace_s)
    _signal(stubborn, signal.SIGKILL)
    _wait(stubborn, grace_s)


def end_descendants(grace_s: float = 3.0) -> None:
    """End everything below this process, also what is started meanwhile, and reap it."""
    while remaining := descendants():
        end(remaining, grace_s)
    with contextlib.suppress(ChildProcessError):  # raised when none is left
        while True:
            os.wait()


def reap_orphans(keep: set[int]) -> None:
    """Collect adopted children that have ended; those of `keep` are waited for elsewhere."""
    for child in psutil.Process().children():
        if child.pid not in keep and not _lives(child):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those of `processes` that still live after at most `timeout_s` seconds. The dead needn't have been reaped."""
    deadline = time.monotonic() + timeout_s
    while (living := [process for process in processes if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)  # processes that are not our children can only be polled
    return living


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
