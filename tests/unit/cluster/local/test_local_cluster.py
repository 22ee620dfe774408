"""Which process is a cluster's supervisor, and what a later process with its id is."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import is_running


@pytest.fixture(params=["cluster.local.supervisor", "another"])
def process(request: pytest.FixtureRequest) -> Iterator[psutil.Process]:
    """A process whose command line names the module of the parameter, until its standard input closes."""
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()", request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as started:
        assert started.stdout is not None
        started.stdout.read(1)
        yield psutil.Process(started.pid)


@pytest.mark.parametrize(("moved_s", "close"), [(0.0, True), (0.5, True), (60.0, False)])
def test_a_supervisor_is_known_by_its_start_and_its_command(process: psutil.Process, moved_s: float, close: bool):
    info = ClusterInfo(
        supervisor=process.pid,
        supervisor_started=process.create_time() + moved_s,
        nodes={},
        hosts=[],
        folder=Path("/"),
        address="",
        dashboard_url="",
        serve_port=1,
    )
    assert is_running(info) == (close and process.cmdline()[-1] == "cluster.local.supervisor")
