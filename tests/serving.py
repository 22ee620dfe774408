"""Real Ray Serve for a module's tests: a private cluster, teachers deployed on it, what its metrics port shows."""

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from common.settings import validate
from teacher_server.engine.protocol import Engine
from teacher_server.serve.app import deployment_options
from teacher_server.serve.replica import TeacherReplica
from teacher_server.settings import TeacherServerSettings

START_S = 200
"""Seconds that replicas have to come up, on a machine that others use too."""
ROOT = Path(__file__).parents[1]


@contextmanager
def ray_serve(*, quiet: bool = False, folder: str | None = None, **environment: str) -> Iterator[str]:
    """The address of Serve's proxy on a Ray cluster of this process; `environment` for its processes.

    `quiet` keeps their logs off this one's output; `folder` is where Ray writes them, instead of one that goes.
    """
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="kd", dir="/tmp") as passing:
        fixed = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        for name, value in (fixed | environment).items():
            patch.setenv(name, value)
        try:
            pool = {"teacher_pool": 1}
            ray.init(
                num_cpus=2,
                resources=pool,
                include_dashboard=False,
                log_to_driver=not quiet,
                _temp_dir=folder or passing,
            )
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield f"http://127.0.0.1:{port}"
        finally:
            try:
                serve.shutdown()
            finally:
                ray.shutdown()


def deploy(make_engine: Callable[[TeacherServerSettings], Engine], **args: Any) -> None:
    """Deploy a teacher at /teacher as `build` does, but with an engine of one's own, and wait for its replicas."""
    serve.run(application(make_engine, **args), name="teacher", route_prefix="/teacher")


def application(make_engine: Callable[[TeacherServerSettings], Engine], **args: Any) -> Application:
    """What `build` makes of `args`, but with an engine of one's own."""
    settings = validate(TeacherServerSettings, {"model": "none"} | args, "args")
    return serve.deployment(**deployment_options(settings))(TeacherReplica).bind(settings, make_engine)


def deploy_config(config: dict[str, Any], replicas: int = 1) -> None:
    """Deploy one application as `serve deploy` does, until it has so many replicas; those that stand stay.

    Raises TimeoutError when they don't come up.
    """
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate({"applications": [config]}))
    deadline = time.monotonic() + START_S
    while (standing := _standing(config["name"])) != replicas:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{standing} of {replicas} replicas stand after {START_S} s: {serve.status()}")
        time.sleep(0.2)  # replicas are starting


def _standing(name: str) -> int:
    application = serve.status().applications.get(name)
    deployments = application.deployments.values() if application else []
    return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)


def metrics_page() -> str:
    """What Prometheus would read from this cluster's only node."""
    (node,) = ray.nodes()
    return httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text


def engines_below(process: psutil.Process) -> list[psutil.Process]:
    """vLLM's engines of all replicas below `process`."""
    return [engine for child in process.children(recursive=True) if _is_replica(child) for engine in engines_of(child)]


def engines_of(replica: psutil.Process) -> list[psutil.Process]:
    """vLLM's engine is a replica's child; by descent, since its title can't always be set."""
    return [child for child in replica.children() if "resource_tracker" not in _title(child)]


def _is_replica(process: psutil.Process) -> bool:
    """A worker of Ray that serves; what it forks may bear its title too."""
    parent = process.parent()
    return "ServeReplica" in _title(process) and not (parent and "ServeReplica" in _title(parent))


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # it ended meanwhile
        return " ".join(process.cmdline())
    return ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
