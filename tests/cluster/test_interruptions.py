"""A run on a real cluster is stopped, interrupted while it waits, and resized: it ends cleanly and loses no prompt."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.demos.live_checks import ids_check
from cluster.local.cluster_info import ClusterInfo
from cluster.local.environment import REPOSITORY
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import submit_job
from cluster.local.settings import ClusterSettings, PoolSettings
from common.toolbench.rows import PromptRow, Turn, write_rows
from student_trainer.persistence.run_folder import newest_step
from tests.models import save_tiny_llama

ROWS = 60
HOLD_THE_POOL = """
import ray, signal
ray.init()
ray.util.placement_group([{"CPU": 1, "student_pool": 0.001}]).wait(60)
print("held", flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterInfo]:
    with local_cluster(ClusterSettings(student=PoolSettings(cpus=1))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 200 steps of which nothing is saved before the end."""
    folder = tmp_path_factory.mktemp("interrupted")
    save_tiny_llama(folder / "student", seed=1)
    rows = (
        PromptRow(f"row-{n}", "q", (Turn("user", f"Weather in {n}?"),), f"\nThought: {n}", f"trace-{n}", 1, "train")
        for n in range(ROWS)
    )
    write_rows(folder / "data", rows, row_group=10)
    values = {
        "mode": "sft",
        "run_folder": str(folder / "run"),
        "data": {"train": str(folder / "data"), "max_length": 512},
        "student": {"model": str(folder / "student"), "dtype": "float32", "lora": {"rank": 4}},
        "workers": {"gpus": 0, "threads": 1},
        "batch_size": 6,
        "epochs": 20,
        "checkpoint_every": 1000,
    }
    path = folder / "sft.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(config: Path, run: str, *overrides: str) -> list[str]:
    return ["-m", "student_trainer", "train", str(config), "--run_folder", str(config.parent / run), *overrides]


def once_at(happened: Callable[[], bool], act: Callable[[], object]) -> None:
    """Act as soon as something has happened, beside what this thread does."""

    def watch() -> None:
        wait_for(happened)
        act()

    threading.Thread(target=watch, daemon=True).start()


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)  # between two looks at files and processes, which announce nothing


def test_a_stopped_job_saves_first_and_the_same_command_goes_on(cluster: ClusterInfo, config: Path):
    run, lines = config.parent / "stopped", list[str]()

    def stop() -> None:
        (job,) = [job for job in cluster.get("/api/jobs/") if job["status"] == "RUNNING"]
        cluster.post(f"/api/jobs/{job['submission_id']}/stop")

    once_at(lambda: newest_step(run) > 2, stop)
    submit_job(cluster, ["python", *command(config, "stopped")], lines.append)
    done = newest_step(run)
    assert 2 < done < 200
    assert f"stopped after step {done}; the same command resumes" in lines, lines
    assert (run / f"checkpoints/step-{done}").exists()
    assert submit_job(cluster, ["python", *command(config, "stopped")], lines.append) == 0, lines
    check = ids_check(config.parent / "data", run)
    assert check.holds, check.text


def test_ctrl_c_is_heard_while_workers_are_waited_for(cluster: ClusterInfo, config: Path):
    environment = os.environ | cluster.environment | {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3"}
    log = config.parent / "waiting/log.txt"
    with start(["-c", HOLD_THE_POOL], environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = below(cluster)
        with start(command(config, "waiting"), environment) as run:
            wait_for(lambda: log.exists() and "waiting for room" in log.read_text())
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=60)
        holder.terminate()
    assert (run.returncode, errors) == (130, "interrupted\n")
    wait_for(lambda: not any(is_train(process) for process in below(cluster) - before))


def below(cluster: ClusterInfo) -> set[psutil.Process]:
    """Every process of the cluster."""
    return set(psutil.Process(cluster.supervisor).children(recursive=True))


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    words = [sys.executable, *arguments]
    return subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=-1, stderr=-1, text=True)


def is_train(process: psutil.Process) -> bool:
    """Whether it is Ray Train's: its controller, a worker or a helper."""
    try:
        name = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return "Train" in name or "PlacementGroupCleaner" in name
