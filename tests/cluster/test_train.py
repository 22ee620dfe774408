"""`ray job submit -- python -m student_trainer train` on a real cluster: workers agree, mistakes are one line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from cluster.local.cluster_info import ClusterInfo
from cluster.local.environment import REPOSITORY
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import submit_job
from cluster.local.settings import ClusterSettings, PoolSettings
from common.settings import load
from common.toolbench.rows import PromptRow, Turn, write_rows
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from tests.models import save_tiny_llama

ROWS = 18
"""With batches of 4 the last step is short."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterInfo]:
    with local_cluster(ClusterSettings(student=PoolSettings(slots=1))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 5 steps in fp32 without dropout."""
    folder = tmp_path_factory.mktemp("sft")
    save_tiny_llama(folder / "student", seed=1)
    rows = (
        PromptRow(
            f"row-{n}", "q", (Turn("system", "Be brief."), Turn("user", f"Weather in city {n}?")),
            "\nThought: look\nAction: forecast\nAction Input: {}" + "!" * n, f"trace-{n}", 1, "train",
        )
        for n in range(ROWS)
    )  # fmt: skip
    write_rows(folder / "data", rows, row_group=5)
    values = {
        "run_folder": str(folder / "run"),
        "mode": "sft",
        "data": {"train": str(folder / "data"), "validation": str(folder / "data"), "max_length": 512},
        "student": {"model": str(folder / "student"), "dtype": "float32", "lora": {"rank": 4}},
        "optimizer": {"learning_rate": 0.01},
        "workers": {"count": 1, "gpus": 0, "threads": 1},
        "batch_size": 4,
    }
    path = folder / "sft.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def submit(cluster: ClusterInfo, config: Path, run: str, *overrides: str) -> tuple[int, list[str]]:
    """Submit a run; give the job's exit code and what it printed."""
    lines: list[str] = []
    command = ["python", "-m", "student_trainer", "train", str(config), "--run_folder", str(config.parent / run)]
    return submit_job(cluster, [*command, *overrides], lines.append), lines


def test_two_workers_on_ray_match_one_without_it(cluster: ClusterInfo, config: Path):
    code, lines = submit(cluster, config, "two", "--workers.count", "2")
    assert code == 0, lines
    assert any(line.startswith("step 5/5  loss ") for line in lines)
    settings = load(TrainSettings, config, ["--run_folder", str(config.parent / "one")])
    run_folder.prepare(settings)
    train(settings, ProcessGroup(0, 1, torch.device("cpu")))
    alone, together = (read_metrics(config.parent / run) for run in ("one", "two"))
    assert [line["progress/step"] for line in alone] == [0, 1, 2, 3, 4, 5]
    for one, two in zip(alone, together, strict=True):
        for name in [name for name in one if not name.startswith("time/")]:
            assert one[name] == pytest.approx(two[name], rel=1e-5), name
    assert alone[-1]["validation/loss"] < alone[0]["validation/loss"]


def test_a_worker_shows_the_users_mistake_in_one_line_and_is_not_tried_again(cluster: ClusterInfo, config: Path):
    code, lines = submit(
        cluster, config, "wrong", "--student.model", str(config.parent / "data"), "--workers.count", "[1, 2]"
    )
    assert code != 0
    assert not any("going on" in line for line in lines), lines
    assert not any("Traceback" in line for line in lines), lines
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert str(config.parent / "data") in error


def test_ctrl_c_ends_the_run_and_leaves_no_process(config: Path):
    """On a Ray of its own, without a cluster."""
    run = config.parent / "stopped"
    command = [
        sys.executable,
        "-m",
        "student_trainer",
        "train",
        str(config),
        "--run_folder",
        str(run),
        "--epochs",
        "999",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
    while not (run / "checkpoints").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)  # between two looks; the run announces a checkpoint by its folder alone
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
