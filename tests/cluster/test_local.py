"""A real cluster: it comes up with its pools, asks for its token, runs jobs, and leaves nothing behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.handle import ClusterHandle, read_handle
from cluster.jobs import deploy, submit_job
from cluster.local import is_running, local_cluster
from cluster.nodes import REPOSITORY
from cluster.settings import ClusterSettings, PoolSettings
from common.errors import UserError

RESOURCES = "import ray; ray.init(); found = ray.cluster_resources(); print('POOLS', sorted(found.items()))"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterHandle]:
    with local_cluster(ClusterSettings(student=PoolSettings(slots=2))) as handle:
        yield handle
    assert not is_running(handle)
    assert not handle.folder.exists()
    assert not set(handle.nodes.values()) & set(psutil.pids())


def test_a_job_sees_both_pools(cluster: ClusterHandle):
    lines: list[str] = []
    assert submit_job(cluster, ["python", "-c", RESOURCES], lines.append) == 0
    (pools,) = [line for line in lines if line.startswith("POOLS")]
    assert "('teacher_pool', 1.0)" in pools
    assert "('student_pool', 2.0)" in pools


def test_a_failing_job_says_so_and_shows_its_last_words_once(cluster: ClusterHandle):
    lines: list[str] = []
    assert submit_job(cluster, ["python", "-c", "import sys; print('so long'); sys.exit(3)"], lines.append) == 1
    assert lines.count("so long") == 1


def test_ctrl_c_stops_the_job(cluster: ClusterHandle):
    def interrupt(line: str) -> None:
        if line == "running":
            raise KeyboardInterrupt

    before = {job["submission_id"] for job in cluster.get("/api/jobs/")}
    with pytest.raises(KeyboardInterrupt):
        submit_job(cluster, ["python", "-c", "import time; print('running', flush=True); time.sleep(600)"], interrupt)
    (job,) = {job["submission_id"] for job in cluster.get("/api/jobs/")} - before
    deadline = time.monotonic() + 30
    while cluster.get(f"/api/jobs/{job}")["status"] == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert cluster.get(f"/api/jobs/{job}")["status"] == "STOPPED"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_nobody_without_the_token_is_let_in(cluster: ClusterHandle, headers: dict[str, str]):
    with httpx.Client(base_url=cluster.dashboard_url, headers=headers, trust_env=False) as client:
        assert client.get("/api/jobs/").status_code in (401, 403)
        assert client.post("/api/jobs/", json={"entrypoint": "true"}).status_code in (401, 403)


def test_the_token_is_its_owners_alone(cluster: ClusterHandle):
    assert (cluster.folder / "token").stat().st_mode & 0o777 == 0o600
    assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_an_application_that_cannot_start_is_explained_in_one_line(cluster: ClusterHandle):
    application = {
        "name": "bad",
        "route_prefix": "/bad",
        "import_path": "teacher_server.app:build",
        "args": {"nope": 1},
    }
    with pytest.raises(UserError, match=r"bad.*unknown key 'nope'") as caught:
        deploy(cluster, {"applications": [application]}, timeout_s=60)
    assert "\n" not in str(caught.value)


OPENED = """
from cluster.local import local_cluster
from cluster.settings import ClusterSettings
with local_cluster(ClusterSettings()):
    print("up")
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_cluster_ends_with_who_opened_it_even_before_it_is_up(end: signal.Signals):
    opener = subprocess.Popen([sys.executable, "-c", OPENED], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    keeper = _first(lambda: psutil.Process(opener.pid).children())
    head = _first(keeper.children)
    opener.send_signal(end)
    opener.wait(30)
    keeper.wait(30)
    assert not head.is_running()


def test_up_status_down(tmp_path: Path):
    state = ["--state", str(tmp_path / "cluster.json")]
    assert _command("status", *state).returncode == 2
    up = _command("up", *state, "--dashboard_port", "0", "--serve_port", "0")
    assert up.returncode == 0, up.stderr
    handle = read_handle(tmp_path / "cluster.json")
    assert f"export RAY_AUTH_TOKEN_PATH={handle.folder}/token" in up.stdout
    again = _command("up", *state)
    assert (again.returncode, "already up" in again.stderr) == (2, True)
    assert _command("status", *state).returncode == 0
    assert _command("down", *state).returncode == 0
    assert not is_running(handle)
    assert not handle.folder.exists()
    assert not set(handle.nodes.values()) & set(psutil.pids())


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


def _first(children: Callable[[], list[psutil.Process]]) -> psutil.Process:
    """The first child, as soon as there is one."""
    deadline = time.monotonic() + 30
    while not (found := children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]
