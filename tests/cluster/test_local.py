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

from cluster.local.cluster_info import ClusterInfo, read_info
from cluster.local.environment import REPOSITORY
from cluster.local.local_cluster import is_running
from cluster.local.ray_cli import submit_job

JOB = """
import ray, sys
ray.init()
print("POOLS", sorted(ray.cluster_resources().items()))
sys.exit(3)
"""
OPENED = """
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
with local_cluster(ClusterSettings()):
    print("up")
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "cluster", *arguments]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, behind_a_dead_proxy: None) -> Iterator[Path]:
    """Where `up` wrote its cluster down, until `down`; every command of this module is told to take a dead proxy."""
    path = tmp_path_factory.mktemp("up") / "cluster.json"
    ports, pool = ["--dashboard_port", "0", "--serve_port", "0"], ["--student.slots", "3", "--student.nodes", "2"]
    up = command("up", "--state", str(path), *ports, *pool)
    assert up.returncode == 0, up.stderr
    info = read_info(path)
    assert f"export RAY_AUTH_TOKEN_PATH={info.folder}/token" in up.stdout
    assert f"export NO_PROXY={info.environment['NO_PROXY']}\n" in up.stdout
    yield path
    assert command("down", "--state", str(path)).returncode == 0
    assert not is_running(info)
    assert not info.folder.exists()
    assert not path.exists()
    assert not set(info.nodes.values()) & set(psutil.pids())


@pytest.fixture
def cluster(state: Path) -> ClusterInfo:
    return read_info(state)


def test_a_failing_job_sees_both_pools_and_shows_its_last_words_once(cluster: ClusterInfo):
    lines: list[str] = []
    assert submit_job(cluster, ["python", "-c", JOB], lines.append) == 1
    (pools,) = [line for line in lines if line.startswith("POOLS")]
    assert "('teacher_pool', 1.0)" in pools
    assert "('student_pool', 6.0)" in pools


def test_ctrl_c_stops_the_job(cluster: ClusterInfo):
    def interrupt(line: str) -> None:
        if line == "running":
            raise KeyboardInterrupt

    endless = "import signal; print('running', flush=True); signal.pause()"
    before = {job["submission_id"] for job in cluster.get("/api/jobs/")}
    with pytest.raises(KeyboardInterrupt):
        submit_job(cluster, ["python", "-c", endless], interrupt)
    (job,) = {job["submission_id"] for job in cluster.get("/api/jobs/")} - before
    deadline = time.monotonic() + 30
    while cluster.get(f"/api/jobs/{job}")["status"] == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)  # between two looks, the test bounds how many
    assert cluster.get(f"/api/jobs/{job}")["status"] == "STOPPED"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["no token", "wrong token"])
def test_nobody_without_the_token_is_let_in(cluster: ClusterInfo, headers: dict[str, str]):
    with httpx.Client(base_url=cluster.dashboard_url, headers=headers, trust_env=False) as client:
        assert client.get("/api/jobs/").status_code in (401, 403)
        assert client.post("/api/jobs/", json={"entrypoint": "true"}).status_code in (401, 403)


def test_the_token_is_its_owners_alone(cluster: ClusterInfo):
    assert (cluster.folder / "token").stat().st_mode & 0o777 == 0o600
    assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_a_lost_node_takes_its_processes_along_and_the_others_stay(cluster: ClusterInfo):
    node = psutil.Process(cluster.nodes["student-2"])
    below = node.children(recursive=True)
    assert below
    node.kill()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
    assert all(psutil.pid_exists(process) for name, process in cluster.nodes.items() if name != "student-2")
    cluster.get("/api/jobs/")  # raises unless the head answers


def test_a_cluster_that_is_up_is_not_started_twice(state: Path, cluster: ClusterInfo):
    status = command("status", "--state", str(state))
    assert (status.returncode, cluster.dashboard_url in status.stdout) == (0, True)
    again = command("up", "--state", str(state))
    assert (again.returncode, "already up" in again.stderr) == (2, True)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_cluster_ends_with_who_opened_it_even_before_it_is_up(end: signal.Signals):
    opener = subprocess.Popen([sys.executable, "-c", OPENED], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    supervisor = first(lambda: psutil.Process(opener.pid).children())
    head = first(supervisor.children)
    opener.send_signal(end)
    opener.wait(30)
    supervisor.wait(30)
    assert not head.is_running()


def first(children: Callable[[], list[psutil.Process]]) -> psutil.Process:
    """The first child, as soon as there is one."""
    deadline = time.monotonic() + 30
    while not (found := children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between two looks, the test bounds how many
    return found[0]
