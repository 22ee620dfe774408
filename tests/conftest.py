"""Fixtures that all tests share, and the guard that no test leaves processes behind."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.local.environment import no_proxy
from cluster.local.processes import become_subreaper, descendants, end
from common.errors import keep_exit_code

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes that Python's own library leaves running until the interpreter ends."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Reach loopback without a proxy, and leave with the tests' verdict, as the commands do with theirs.

    An exception that ended pytest itself, or its last test, has an exit code already.
    """
    os.environ.update(no_proxy())
    keep_exit_code(lambda: None if hasattr(sys, "last_value") else session.exitstatus)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real ToolBench and StableToolBench files; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What tests that are marked `anyio` run on."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fails the session when a process outlives its test, however it detached itself, and ends that process."""
    become_subreaper()
    before = set(descendants())
    yield
    left = [process for process in descendants() if process not in before and not _is_helper(process)]
    names = [f"{process.pid} {' '.join(process.cmdline())[:120]}" for process in left]
    end(left, grace_s=5)
    assert not left, "tests left processes behind:\n" + "\n".join(names)


def _is_helper(process: psutil.Process) -> bool:
    return any(helper in " ".join(process.cmdline()) for helper in HELPERS)
