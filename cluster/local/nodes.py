"""Ray's nodes as child processes: one `ray start --block` each, every node on a loopback address of its own."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.local.cluster_info import ClusterInfo, authentication
from cluster.local.environment import REPOSITORY, child_environment
from cluster.local.failures import telling_line
from cluster.local.processes import die_with_parent
from cluster.local.settings import ClusterSettings, PoolSettings

SERVE_GUARD = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "teacher_server.serve.proxy_guard.middlewares"}
"""What has Serve's HTTP proxy close its own routes, which ask for no token."""
STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
"""What `ray job stop` leaves a run to save itself before SIGKILL; read on the head, where the job's guard runs."""
_STARTED = "Ray runtime started"
_PORTS = range(20000, 32000)  # below the ports that Linux gives to outgoing connections


class StartFailed(Exception):
    """A node didn't come up; the message says which and why."""


@dataclass(frozen=True)
class Node:
    """One `ray start --block`; what it prints stands in `output`."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    logs: Path
    """Folder of Ray's own logs, as soon as there are any."""

    def is_up(self) -> bool:
        """Whether the node has joined; StartFailed with the reason when it has ended instead."""
        text = self.output.read_text(errors="replace")
        if self.process.poll() is not None:
            why = telling_line(text, self.logs)
            raise StartFailed(f"the {self.name} node ended with status {self.process.returncode}: {why}")
        return _STARTED in text


class Nodes:
    """Starts the nodes of one cluster in `folder`. Loopback addresses 127.x.y.* keep it apart from other clusters."""

    def __init__(self, folder: Path, settings: ClusterSettings) -> None:
        self._folder, self._settings = folder, settings
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}"
        count = 1 + settings.teacher.nodes + settings.student.nodes
        self.hosts = [f"{network}.{number}" for number in range(1, count + 1)]
        self._ports = free_ports(4 + count)
        self.address = f"{self.hosts[0]}:{self._ports.pop()}"
        self.dashboard_port = _free("dashboard_port", settings.dashboard_port) or self._ports.pop()
        self.serve_port = _free("serve_port", settings.serve_port) or self._ports.pop()

    def start(self, pause: Callable[[], None]) -> list[Node]:
        """Start all nodes, the head first: others wait for it by themselves, but too shortly for a busy machine."""
        head = self.head()
        while not head.is_up():
            pause()
        pools = [("teacher", self._settings.teacher), ("student", self._settings.student)]
        names = [(pool, f"-{n + 1}" if n else "", options) for pool, options in pools for n in range(options.nodes)]
        return [head, *(self.pool(*name, host) for host, name in zip(self.hosts[1:], names, strict=True))]

    def head(self) -> Node:
        """The node without work: it holds the dashboard, the jobs' drivers and Serve's controller and proxy."""
        options = ["--head", "--num-cpus=0", "--no-monitor", f"--port={self.address.split(':')[1]}"]
        dashboard = ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}"]
        client = f"--ray-client-server-port={self._ports.pop()}"
        return self._start("head", self.hosts[0], [*options, *dashboard, client])

    def pool(self, pool: str, suffix: str, settings: PoolSettings, host: str) -> Node:
        """A node that offers `slots` of the resource POOL_pool."""
        options = [f"--address={self.address}", f"--num-cpus={settings.cpus}", f"--num-gpus={settings.gpus}"]
        resources = json.dumps({f"{pool}_pool": settings.slots})
        # a training job's driver prints what its workers print; nobody prints what replicas do
        follow = f"--include-log-monitor={pool == 'student'}"
        return self._start(pool + suffix, host, [*options, follow, f"--resources={resources}"])

    def _start(self, name: str, host: str, options: list[str]) -> Node:
        temporary, output = self._folder / name, self._folder / f"{name}.log"
        temporary.mkdir()
        memory = self._settings.object_store_mb * 1_000_000
        common = ["--block", "--disable-usage-stats", f"--temp-dir={temporary}", f"--object-store-memory={memory}"]
        agent = f"--dashboard-agent-listen-port={self._ports.pop()}"  # on 127.0.0.1 too, which all nodes share
        place = [f"--node-ip-address={host}", agent]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *place, *options]
        with output.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=node_environment(self._folder, self.dashboard_port, self.hosts),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        return Node(name, process, output, temporary / "session_latest/logs")


def node_environment(folder: Path, dashboard_port: int, hosts: list[str]) -> dict[str, str]:
    """A child's variables, less what points at other clusters, plus the token and this Python's programs on PATH."""
    inherited = {name: value for name, value in child_environment(hosts).items() if not name.startswith("RAY_")}
    binaries = [str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]
    return {
        **inherited,
        **authentication(folder),
        **SERVE_GUARD,
        **STOP_WAIT,
        "PATH": os.pathsep.join(binaries),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard_port}",  # else Ray Train's helpers guess
        "RAY_prestart_worker_first_driver": "0",  # replicas and training workers ask for other environments anyway
    }


def wait_until_ready(nodes: list[Node], info: ClusterInfo, pause: Callable[[], None]) -> None:
    """Call `pause` until every node has joined and the dashboard answers for jobs and Serve."""
    while [node for node in nodes if not node.is_up()]:
        pause()
    for path in ("/api/jobs/", "/api/serve/applications/"):
        while not _answers(info, path):
            pause()


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens now."""
    ports = [port for port in random.sample(_PORTS, 20 * count) if _is_free(port)]
    if len(ports) < count:
        raise StartFailed(f"found {len(ports)} of {count} free ports between {_PORTS.start} and {_PORTS.stop}")
    return ports[:count]


def _free(setting: str, port: int) -> int:
    """The port that a setting names. StartFailed when something listens there: Ray would go on without a dashboard."""
    if not _is_free(port):
        raise StartFailed(f"{setting} {port} is taken by another program; give another one, or 0 for a free one")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _answers(info: ClusterInfo, path: str) -> bool:
    try:
        info.get(path)
    except httpx.HTTPError:
        return False
    return True
