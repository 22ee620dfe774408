"""What a user does with a cluster, as functions: `serve deploy` and `ray job submit`, watched to their end."""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.local.cluster_info import ClusterInfo
from cluster.local.environment import REPOSITORY, child_environment
from common.errors import UserError

_OWN_WORDS = re.compile(r"^\S+ \S+\t(INFO|SUCC|WARN) (cli|sdk|worker|job_manager)\.py:\d+ -- (?P<text>.*)")
"""What Ray itself says around a job's log."""
_LAST_WORDS = re.compile(r"^\S+ \S+\tERR cli\.py:")
"""Where `ray job submit` starts to repeat the end of a failed job's log."""
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")


def deploy(cluster: ClusterInfo, config: Mapping[str, Any] | Path, timeout_s: float = 300) -> str:
    """Run `serve deploy` with a Serve config, or its YAML file, and wait until every application runs.

    The config's HTTP address is replaced by the cluster's own. Returns the base URL of that address. Raises UserError
    with Serve's explanation when an application fails, or isn't up after `timeout_s` seconds.
    """
    values = _read_config(config) if isinstance(config, Path) else config
    http = {**values.get("http_options", {}), "host": "127.0.0.1", "port": cluster.serve_port}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({**values, "proxy_location": "HeadOnly", "http_options": http}, file)
        file.flush()
        _run_serve(cluster, file.name)
    wait_until_running(cluster, [application["name"] for application in values["applications"]], timeout_s)
    return cluster.serve_url


def wait_until_running(cluster: ClusterInfo, names: list[str], timeout_s: float) -> None:
    """Return when each application of `names` runs. UserError when one has failed, or at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not _all_running_now(cluster, names):
        if time.monotonic() > deadline:
            raise UserError(f"{', '.join(names)}: not up {timeout_s:.0f} s after `serve deploy`; see the dashboard")
        time.sleep(0.3)  # Serve has no call that waits for a deployment, it can only be asked


def submit_job(cluster: ClusterInfo, command: list[str], show: Callable[[str], None] = print) -> int:
    """Run `ray job submit -- COMMAND`, give each line of the job's log to `show`, and return 0 when the job succeeded.

    The job starts in the repository's root. Ctrl-C, or any other exception here, stops the job. Raises UserError when
    Ray doesn't take the job.
    """
    job = f"job-{uuid.uuid4().hex[:12]}"
    options = ["--submission-id", job, "--log-style", "record", "--", *command]
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *options],
        env=child_environment() | cluster.environment | {"PYTHONUNBUFFERED": "1"},  # else the log comes when it is over
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        show_log(process.stdout, show)
        return process.wait()
    except BaseException:  # Ctrl-C too: the job must not outlive who watches it
        with contextlib.suppress(httpx.HTTPError):  # unless it wasn't submitted yet, or the cluster is gone
            cluster.post(f"/api/jobs/{job}/stop")
        raise
    finally:
        process.kill()
        process.wait()


def show_log(output: Iterable[str], show: Callable[[str], None]) -> None:
    """Give the job's own lines of `output`, what `ray job submit` prints, to `show`."""
    before: list[str] = []
    taken = ended = False
    for line in map(str.rstrip, output):
        own = _OWN_WORDS.match(line)
        ended = ended or bool(_LAST_WORDS.match(line))
        taken = taken or bool(own and own["text"].endswith("submitted successfully"))
        if own or ended:
            continue
        if taken:
            show(line)
        else:
            before.append(line)
    if not taken:
        raise UserError(f"`ray job submit` failed: {_last_line(before)}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"can't read the Serve config {path}: {error.strerror}") from None


def _run_serve(cluster: ClusterInfo, path: str) -> None:
    command = [sys.executable, "-m", "ray.serve.scripts", "deploy", path]
    environment = child_environment() | cluster.environment
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"`serve deploy` refused the config: {_last_line((done.stderr or done.stdout).splitlines())}")


def _all_running_now(cluster: ClusterInfo, names: list[str]) -> bool:
    try:
        return all_running(cluster, names)
    except httpx.HTTPError:  # a busy dashboard may answer late: asked again until the deadline
        return False


def all_running(cluster: ClusterInfo, names: list[str]) -> bool:
    """Whether each application of `names` runs; UserError as soon as one has failed."""
    applications = cluster.get("/api/serve/applications/")["applications"]
    found = [applications.get(name, {"status": "NOT_STARTED"}) for name in names]
    for name, application in zip(names, found, strict=True):
        if application["status"] in _FAILED:
            raise UserError(f"the application {name} failed to deploy: {_explain(application)}")
    return all(application["status"] == "RUNNING" for application in found)


def _explain(application: Mapping[str, Any]) -> str:
    """The last line of the longest message in `application`, an entry of Serve's status: a traceback's exception."""
    messages = [application.get("message", "")]
    messages += [deployment.get("message", "") for deployment in application.get("deployments", {}).values()]
    return _last_line(max(messages, key=len).splitlines())


def _last_line(lines: list[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "no explanation was given")
