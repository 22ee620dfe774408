"""The process that holds a local cluster: it starts Ray's nodes and ends them, whatever happens to who asked.

`python -m cluster.local.supervisor SETTINGS_JSON [--detached]` prints one JSON line, a ClusterInfo or {"error": …}, and
stays. It ends everything at SIGTERM, when the head dies, and, unless detached, when its standard input closes: its
parent is gone.
When another node dies it ends what ran there, and the others go on.
"""

import json
import os
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import psutil

from cluster.local.cluster_info import ClusterInfo, token_file
from cluster.local.nodes import Node, Nodes, StartFailed, wait_until_ready
from cluster.local.processes import become_subreaper, descendants, end, end_descendants, reap_orphans
from cluster.local.settings import ClusterSettings


class Stopped(Exception):
    """Someone asked for the end."""


def main(arguments: list[str]) -> int:
    settings, detached = ClusterSettings.model_validate_json(arguments[0]), "--detached" in arguments
    become_subreaper()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    folder = Path(tempfile.mkdtemp(prefix="tak-", dir="/tmp"))  # short: paths of sockets end at 107 characters
    try:
        return _hold(folder, settings, detached)
    except Stopped:
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_descendants()
        if settings.logs is not None:
            _keep_logs(folder, settings.logs)
        shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path, settings: ClusterSettings, detached: bool) -> int:
    """Start the nodes, say so, and stay until Stopped or until the head has ended."""
    try:
        nodes = _start(folder, settings, detached)
    except StartFailed as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    head, *pools = nodes
    below: dict[str, list[psutil.Process]] = {}
    while head.process.poll() is None:
        for node in pools:
            below[node.name] = _below(node, below.get(node.name, []))
        reap_orphans(keep={node.process.pid for node in nodes})
        _pause(detached, 0.5)
    return 1


def _below(node: Node, before: list[psutil.Process]) -> list[psutil.Process]:
    """The processes below `node`; when it is lost, those that were there `before` end with it."""
    now = [] if node.process.returncode is not None else descendants(node.process.pid)
    if node.process.poll() is None:
        return now
    end(before, grace_s=0)
    return []


def _start(folder: Path, settings: ClusterSettings, detached: bool) -> list[Node]:
    deadline = time.monotonic() + settings.start_timeout_s

    def pause() -> None:
        if time.monotonic() > deadline:
            raise StartFailed(f"not up after {settings.start_timeout_s:.0f} s; raise start_timeout_s on a slow machine")
        _pause(detached, 0.1)

    token_file(folder).touch(mode=0o600)
    token_file(folder).write_text(secrets.token_hex(32))
    cluster = Nodes(folder, settings)
    nodes = cluster.start(pause)
    info = ClusterInfo(
        supervisor=os.getpid(),
        supervisor_started=psutil.Process().create_time(),
        nodes={node.name: node.process.pid for node in nodes},
        hosts=cluster.hosts,
        folder=folder,
        address=cluster.address,
        dashboard_url=f"http://127.0.0.1:{cluster.dashboard_port}",
        serve_port=cluster.serve_port,
    )
    wait_until_ready(nodes, info, pause)
    print(info.model_dump_json(), flush=True)
    return nodes


def _pause(detached: bool, seconds: float) -> None:
    """Wait, and notice that the parent is gone."""
    if detached:
        time.sleep(seconds)  # no parent to listen to; signals still end it
    elif select.select([sys.stdin], [], [], seconds)[0]:
        raise Stopped


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _keep_logs(folder: Path, target: Path) -> None:
    for logs in folder.glob("*/session_2*/logs"):
        shutil.copytree(logs, target / logs.relative_to(folder).parts[0], dirs_exist_ok=True)
    for output in folder.glob("*.log"):
        shutil.copy(output, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
