"""The live run, whole: Serve and vLLM answer over HTTP while a worker learns; its record replays to the same bits."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.demos.live_checks import accounted, ids_check, read_summary
from cluster.demos.runner import application
from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import deploy, submit_job
from cluster.local.settings import ClusterSettings
from common.toolbench.rows import PromptRow, Turn, write_rows
from teacher_server.settings import TeacherServerSettings
from tests.models import CPU_ENVIRONMENT, save_tiny_adapter, save_tiny_llama

ROWS = 22
TOKEN = "a-token-for-this-test-alone"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, prompts (one of them too long), the token, and the settings of a run."""
    folder = tmp_path_factory.mktemp("live")
    save_tiny_llama(folder / "teacher", seed=0)
    save_tiny_adapter(folder / "expert", folder / "teacher")
    save_tiny_llama(folder / "student", seed=1)
    (folder / "token").write_text(TOKEN)
    write_rows(folder / "data", map(make_row, range(ROWS)), row_group=5)
    (folder / "kd.yaml").write_text(yaml.safe_dump(settings_of(folder)))
    return folder


def make_row(number: int) -> PromptRow:
    question = f"Weather in city {number}?" + " please" * (400 if number == 7 else 0)
    completion = '\nThought: look\nAction: forecast\nAction Input: {"city": 1}'
    turns = (Turn("system", "Be brief."), Turn("user", question))
    return PromptRow(f"row-{number}", question, turns, completion, f"trace-{number}", 1, "train")


def settings_of(folder: Path) -> dict[str, Any]:
    data = str(folder / "data")
    return {
        "run_folder": str(folder / "live"),
        "data": {"train": data, "validation": data, "validation_rows": 4, "max_length": 512},
        "student": {"model": str(folder / "student"), "dtype": "float32", "lora": {"rank": 8}},
        "teacher": {"url": "", "model": "expert", "token_file": str(folder / "token"), "top_k": 16},
        "allow_unqualified_teacher": True,
        "completion": {"writer": {"dataset": 0.5, "teacher": 0.5}, "max_new_tokens": 12, "keep_length_cut": True},
        "loss": {"alpha": 1.0},
        "optimizer": {"learning_rate": 0.005},
        "workers": {"count": 1, "gpus": 0, "threads": 1},
        "batch_size": 4,
        "epochs": 2,
    }


@pytest.fixture(scope="module")
def cluster(behind_a_dead_proxy: None) -> Iterator[ClusterInfo]:
    with local_cluster(ClusterSettings()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def live(cluster: ClusterInfo, folder: Path) -> Path:
    """The run folder of a live run."""
    served = {
        "model": str(folder / "teacher"),
        "adapters": {"expert": str(folder / "expert")},
        "token_file": str(folder / "token"),
        "engine": {
            "dtype": "float32", "max_length": 512, "max_top_k": 16, "kv_cache_gib": 0.125, "enforce_eager": True,
        },
        "replicas": {"environment": CPU_ENVIRONMENT},
    }  # fmt: skip
    url = deploy(cluster, {"applications": [application("teacher", TeacherServerSettings.model_validate(served))]})
    code, lines = train(cluster, folder, "live", "--teacher.url", f"{url}/teacher")
    assert code == 0, lines
    return folder / "live"


def train(cluster: ClusterInfo, folder: Path, run: str, *overrides: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    command = ["python", "-m", "student_trainer", "train", str(folder / "kd.yaml"), "--run_folder", str(folder / run)]
    return submit_job(cluster, [*command, *overrides], lines.append), lines


def test_every_prompt_is_accounted_for_once_per_epoch(live: Path, folder: Path) -> None:
    check = ids_check(folder / "data", live)
    assert check.holds, check.text
    assert accounted(live / "quarantine.jsonl") == Counter({("row-7", 0): 1, ("row-7", 1): 1})


def test_the_student_moves_towards_the_teacher(live: Path) -> None:
    summary = read_summary(live)
    assert summary["validation_after"]["kl"] < 0.9 * summary["validation_before"]["kl"]
    assert (summary["used"], summary["quarantined"]) == (2 * (ROWS - 1), 2)


def test_the_record_replays_to_the_same_bits(cluster: ClusterInfo, live: Path, folder: Path) -> None:
    replay = (
        "--teacher.source",
        "record",
        "--teacher.record_folder",
        str(live / "record"),
        "--teacher.url",
        "http://no",
    )
    code, lines = train(cluster, folder, "replay", *replay)
    assert code == 0, lines
    adapters = [(run / "adapter/adapter_model.safetensors").read_bytes() for run in (live, folder / "replay")]
    assert adapters[0] == adapters[1]
    losses = [
        [json.loads(line).get("train/loss") for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (live, folder / "replay")
    ]
    assert losses[0] == losses[1]


def test_an_unqualified_teacher_is_refused_in_one_line(cluster: ClusterInfo, live: Path, folder: Path) -> None:
    """The run of this module learnt from it all the same, as it was told to."""
    url = yaml.safe_load((live / "config.yaml").read_text())["teacher"]["url"]
    refused = ("--teacher.url", url, "--allow_unqualified_teacher", "false")
    code, lines = train(cluster, folder, "refused", *refused)
    assert code != 0
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert "the teacher expert is not qualified: judged 0.000, expected at least 0.5" in error
    assert not (folder / "refused" / "metrics.jsonl").exists()


def test_a_teacher_that_is_not_there_is_one_line(cluster: ClusterInfo, live: Path, folder: Path) -> None:
    code, lines = train(
        cluster, folder, "lost", "--teacher.url", "http://127.0.0.1:9/teacher", "--teacher.patience_s", "0"
    )
    assert code != 0
    assert len([line for line in lines if line.startswith("error: ")]) == 1, lines
    assert not any("Traceback" in line for line in lines)
