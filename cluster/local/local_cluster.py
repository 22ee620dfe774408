"""A Ray cluster on this machine: up for the length of a `with` block, or until `down`.

A keeper process in a session of its own holds the nodes. Whoever opened the block holds one end of a pipe to it, so
Ctrl-C, a failing test and SIGKILL all end the cluster.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

from cluster.local.cluster_info import ClusterHandle, read_handle, write_handle
from cluster.local.nodes import REPOSITORY
from cluster.local.processes import end
from cluster.local.settings import ClusterSettings
from common.errors import UserError
from common.settings import validate

_KEEPER = "cluster.local.supervisor"
_TEAR_DOWN_S = 60.0
_CLOCK_SLACK_S = 2.0
"""A start time is read from the boot time, which moves when the clock is set."""


@contextlib.contextmanager
def local_cluster(settings: ClusterSettings) -> Iterator[ClusterHandle]:
    """Hold a cluster while the block runs; afterwards none of its processes is left. UserError if it can't start."""
    keeper = _start_keeper(settings, [])
    try:
        yield _await_handle(keeper)
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(_TEAR_DOWN_S)


def up(settings: ClusterSettings, state: Path) -> ClusterHandle:
    """Start a cluster that outlives this process, and write it down in `state`."""
    if state.exists() and is_running(read_handle(state)):
        raise UserError(f"the cluster in {state} is already up; end it with `python -m cluster down`")
    state.parent.mkdir(parents=True, exist_ok=True)
    with state.with_suffix(".log").open("w") as log:  # it outlives this process, whose standard error may be a pipe
        keeper = _start_keeper(settings, ["--detached"], log)
    try:
        handle = _await_handle(keeper)
        write_handle(handle, state)
    except BaseException:  # Ctrl-C too: nothing may stay behind of a cluster that isn't written down
        keeper.terminate()
        keeper.wait(_TEAR_DOWN_S)
        raise
    return handle


def down(state: Path) -> None:
    """End exactly the processes of the cluster in `state`."""
    handle = read_handle(state)
    if is_running(handle):
        end([psutil.Process(handle.keeper)], _TEAR_DOWN_S)
    state.unlink()
    state.with_suffix(".log").unlink(missing_ok=True)


def is_running(handle: ClusterHandle) -> bool:
    """Whether the keeper of this very cluster lives."""
    try:
        keeper = psutil.Process(handle.keeper)
        same = abs(keeper.create_time() - handle.keeper_started) < _CLOCK_SLACK_S
        return same and _KEEPER in keeper.cmdline()  # a zombie's is empty
    except psutil.NoSuchProcess:
        return False


def _start_keeper(
    settings: ClusterSettings, options: list[str], errors: IO[str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", _KEEPER, settings.model_dump_json(), *options],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )


def _await_handle(keeper: subprocess.Popen[str]) -> ClusterHandle:
    assert keeper.stdout is not None
    line = keeper.stdout.readline()
    answer = json.loads(line) if line else {"error": "its keeper ended without a word; see the messages above"}
    if "error" in answer:
        raise UserError(f"the local cluster didn't come up: {answer['error']}")
    return validate(ClusterHandle, answer, "the keeper's answer")
