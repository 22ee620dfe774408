"""Real Ray Serve for a module's tests: a private cluster, teachers deployed on it, what its metrics port shows."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve

from common.settings import validate
from teacher_server.app import deployment_options
from teacher_server.deployment import TeacherReplica
from teacher_server.settings import TeacherSettings

ROOT = Path(__file__).parents[1]


@contextmanager
def ray_serve(**environment: str) -> Iterator[str]:
    """The address of Serve's proxy on a Ray cluster of this process; `environment` for its processes."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="kd", dir="/tmp") as folder:
        fixed = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        for name, value in (fixed | environment).items():
            patch.setenv(name, value)
        try:
            ray.init(num_cpus=2, resources={"teacher_pool": 1}, include_dashboard=False, _temp_dir=folder)
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield f"http://127.0.0.1:{port}"
        finally:
            try:
                serve.shutdown()
            finally:
                ray.shutdown()


def deploy(make_engine: Any, name: str = "teacher", **args: Any) -> None:
    """Deploy a teacher with an engine of its own at /NAME, as `build` does with vLLM's, and wait for its replicas."""
    settings = validate(TeacherSettings, {"model": "none"} | args, "args")
    options = deployment_options(settings)
    serve.run(
        serve.deployment(**options)(TeacherReplica).bind(settings, make_engine), name=name, route_prefix=f"/{name}"
    )


def metrics_page() -> str:
    """What Prometheus would read from this cluster's only node."""
    (node,) = ray.nodes()
    return httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
