"""What a user does with a cluster, as functions: `serve deploy` and `ray job submit`, watched to their end."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.handle import ClusterHandle
from cluster.nodes import REPOSITORY
from common.errors import UserError

_RAY_CHATTER = re.compile(r"^\S+ \S+\t(INFO|SUCC) (cli|sdk|worker|job_manager)\.py:")
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")


def deploy(cluster: ClusterHandle, config: Mapping[str, Any] | Path, timeout_s: float = 300) -> str:
    """Run `serve deploy` with a Serve config, or its YAML file, and wait until every application runs.

    The config's HTTP address is replaced by the cluster's own. Returns the base URL of that address. Raises UserError with
    Serve's explanation when an application fails, or isn't up after `timeout_s` seconds.
    """
    values = _read_config(config) if isinstance(config, Path) else config
    http = {**values.get("http_options", {}), "host": "127.0.0.1", "port": cluster.serve_port}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({**values, "proxy_location": "HeadOnly", "http_options": http}, file)
        file.flush()
        _run_serve(cluster, file.name)
    names = [application["name"] for application in values["applications"]]
    deadline = time.monotonic() + timeout_s
    while not _all_running(cluster, names):
        if time.monotonic() > deadline:
            raise UserError(f"{', '.join(names)}: not running {timeout_s:.0f} s after `serve deploy`; see the dashboard")
        time.sleep(0.3)
    return cluster.serve_url


def submit_job(cluster: ClusterHandle, command: list[str], show: Callable[[str], None] = print) -> int:
    """Run `ray job submit -- COMMAND`, give each line of the job's log to `show`, and return 0 when the job succeeded.

    The job starts in the repository's root. Ctrl-C, or any other exception here, stops the job.
    """
    job = f"job-{uuid.uuid4().hex[:12]}"
    submit = _ray_command("ray.scripts.scripts", "job", "submit", "--submission-id", job, "--log-style", "record", "--")
    process = subprocess.Popen(
        [*submit, shlex.join(command)],
        env=os.environ | cluster.environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if not _RAY_CHATTER.match(line):
                show(line.rstrip("\n"))
        return process.wait()
    except BaseException:  # Ctrl-C too: the job must not outlive who watches it
        _stop_job(cluster, job)
        raise
    finally:
        process.kill()
        process.wait()


def _stop_job(cluster: ClusterHandle, job: str) -> None:
    try:
        cluster.post(f"/api/jobs/{job}/stop")
    except httpx.HTTPStatusError:
        pass  # it hadn't been submitted yet


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"can't read the Serve config {path}: {error.strerror}") from None


def _run_serve(cluster: ClusterHandle, path: str) -> None:
    command = _ray_command("ray.serve.scripts", "deploy", path)
    environment = os.environ | cluster.environment
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"`serve deploy` refused the config: {_last_line(done.stderr or done.stdout)}")


def _all_running(cluster: ClusterHandle, names: list[str]) -> bool:
    """Whether each application of `names` runs; UserError as soon as one has failed."""
    applications = cluster.get("/api/serve/applications/")["applications"]
    for name in names:
        status = applications.get(name, {"status": "NOT_STARTED"})
        if status["status"] in _FAILED:
            raise UserError(f"the application {name} failed to deploy: {explain(status)}")
    return all(applications.get(name, {}).get("status") == "RUNNING" for name in names)


def explain(application: Mapping[str, Any]) -> str:
    """One line on why `application`, an entry of Serve's status, has failed: the last line of its longest message."""
    messages = [application.get("message", "")]
    messages += [deployment.get("message", "") for deployment in application.get("deployments", {}).values()]
    return _last_line(max(messages, key=len))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no explanation was given"


def _ray_command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
