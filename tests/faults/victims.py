"""Finds the processes of a cluster that are to be killed or stopped, each by its id."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psutil

from cluster.local.cluster_info import ClusterInfo
from cluster.local.environment import REPOSITORY
from tests.serving import engines_of

PATIENCE_S = 240.0
"""Longest wait for anything, on a machine that others use too."""
LOOK_S = 0.05
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], what: str, patience_s: float = PATIENCE_S) -> Found:
    """What `look` finds, as soon as that is something. Raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):  # a dashboard that is busy or asks a controller that just died
            if found := look():
                return found
        time.sleep(LOOK_S)  # processes of others can only be looked at
    raise TimeoutError(f"waited {patience_s:.0f} s for {what}")


def actors(cluster: ClusterInfo, value: str, field: str = "class_name") -> list[psutil.Process]:
    """The living actors of a class, or with another `field` of this value; the oldest first."""
    question = f"limit=1000&detail=true&filter_keys={field}&filter_predicates=%3D&filter_values={quote(value)}"
    found: list[dict[str, Any]] = cluster.get(f"/api/v0/actors?{question}")["data"]["result"]["result"]
    processes = []
    for actor in found:
        with suppress(psutil.NoSuchProcess):
            if actor["state"] == "ALIVE" and actor["pid"]:
                processes.append(psutil.Process(actor["pid"]))
    return sorted(processes, key=psutil.Process.create_time)


def replicas(cluster: ClusterInfo, application: str) -> list[psutil.Process]:
    """The teacher's replicas."""
    return actors(cluster, f"ServeReplica:{application}:TeacherReplica")


@contextmanager
def watching(cluster: ClusterInfo, application: str, requests: int) -> Iterator[Callable[[], psutil.Process]]:
    """Yields what waits for a replica that works on so many requests by its own count, once it can see the replicas."""
    command = [sys.executable, "-m", "tests.faults.ongoing", application, str(requests)]
    environment = os.environ | cluster.environment
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout
        assert output is not None
        assert output.readline(), "the replicas can't be asked"

        def found() -> psutil.Process:
            (replica,) = actors(cluster, output.readline().strip(), "name")
            return replica

        try:
            yield found
        finally:
            process.kill()


def controller(cluster: ClusterInfo) -> psutil.Process:
    """Serve's controller."""
    return wait_for(lambda: actors(cluster, "ServeController"), "Serve's controller")[0]


def proxy(cluster: ClusterInfo) -> psutil.Process:
    """Serve's HTTP proxy on the head."""
    return wait_for(lambda: actors(cluster, "ProxyActor"), "Serve's proxy")[0]


def engine(replica: psutil.Process) -> psutil.Process:
    """vLLM's engine below a replica."""
    (found,) = engines_of(replica)
    return found


def node_of(cluster: ClusterInfo, inhabitant: psutil.Process) -> list[psutil.Process]:
    """All processes of the node on which `inhabitant` lives: its raylet, its agents and whatever works on it."""
    tops = [psutil.Process(pid) for pid in cluster.nodes.values() if psutil.pid_exists(pid)]
    (node,) = [family for top in tops if inhabitant in (family := [top, *top.children(recursive=True)])]
    return node


def kill(*processes: psutil.Process) -> None:
    """SIGKILL, to all of them before any can react."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """SIGSTOP, and SIGCONT for those that still live at the end."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()
