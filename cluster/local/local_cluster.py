"""A Ray cluster on this machine: up for the length of a `with` block, or until `down`.

A supervisor process in a session of its own holds the nodes. Whoever opened the block holds one end of a pipe to it, so
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

from cluster.local.cluster_info import ClusterInfo, read_info, write_info
from cluster.local.environment import REPOSITORY, child_environment
from cluster.local.processes import end
from cluster.local.settings import ClusterSettings
from common.errors import UserError
from common.settings import validate

_SUPERVISOR = "cluster.local.supervisor"
_TEAR_DOWN_S = 60.0
_CLOCK_SLACK_S = 2.0
"""A start time is read from the boot time, which moves when the clock is set."""


@contextlib.contextmanager
def local_cluster(settings: ClusterSettings) -> Iterator[ClusterInfo]:
    """Hold a cluster while the block runs; afterwards none of its processes is left. UserError if it can't start."""
    supervisor = _start_supervisor(settings, [])
    try:
        yield _await_info(supervisor)
    finally:
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        supervisor.wait(_TEAR_DOWN_S)


def up(settings: ClusterSettings, state: Path) -> ClusterInfo:
    """Start a cluster that outlives this process, and write it down in `state`."""
    if state.exists() and is_running(read_info(state)):
        raise UserError(f"the cluster in {state} is already up; end it with `python -m cluster down`")
    state.parent.mkdir(parents=True, exist_ok=True)
    with state.with_suffix(".log").open("w") as log:  # it outlives this process, whose standard error may be a pipe
        supervisor = _start_supervisor(settings, ["--detached"], log)
    try:
        info = _await_info(supervisor)
        write_info(info, state)
    except BaseException:  # Ctrl-C too: nothing may stay behind of a cluster that isn't written down
        supervisor.terminate()
        supervisor.wait(_TEAR_DOWN_S)
        raise
    return info


def down(state: Path) -> None:
    """End exactly the processes of the cluster in `state`."""
    info = read_info(state)
    if is_running(info):
        end([psutil.Process(info.supervisor)], _TEAR_DOWN_S)
    state.unlink()
    state.with_suffix(".log").unlink(missing_ok=True)


def is_running(info: ClusterInfo) -> bool:
    """Whether the supervisor of this very cluster lives."""
    try:
        supervisor = psutil.Process(info.supervisor)
        same = abs(supervisor.create_time() - info.supervisor_started) < _CLOCK_SLACK_S
        return same and _SUPERVISOR in supervisor.cmdline()  # a zombie's is empty
    except psutil.NoSuchProcess:
        return False


def _start_supervisor(
    settings: ClusterSettings, options: list[str], errors: IO[str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", _SUPERVISOR, settings.model_dump_json(), *options],
        cwd=REPOSITORY,
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )


def _await_info(supervisor: subprocess.Popen[str]) -> ClusterInfo:
    assert supervisor.stdout is not None
    line = supervisor.stdout.readline()
    answer = json.loads(line) if line else {"error": "its supervisor ended without a word; see the messages above"}
    if "error" in answer:
        raise UserError(f"the local cluster didn't come up: {answer['error']}")
    return validate(ClusterInfo, answer, "the supervisor's answer")
