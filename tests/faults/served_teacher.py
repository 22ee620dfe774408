"""What faults happen to: a cluster with two teachers, prompts, and the settings of runs.

Teacher `bigram` is the stand-in behind real Serve: faults around it need no model, and its answers are the same bits
every time, so every run on it ends with the same adapter. Teacher `slow` is the same, but takes its time, so that the
pace of a run hangs on it and not on the machine. Teacher `vllm` is a tiny Llama on real vLLM, in float32.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from cluster.demos.runner import application
from cluster.local.cluster_info import ClusterInfo
from cluster.local.ray_cli import all_running, deploy
from common.errors import UserError
from common.toolbench.rows import PromptRow, Turn, write_rows
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.settings import TrainSettings
from teacher_server.settings import TeacherServerSettings
from tests.faults import victims
from tests.models import CPU_ENVIRONMENT, save_tiny_llama
from tests.stand_in_tokenizer import VOCABULARY_SIZE, make_tokenizer

BATCH = 4
CHECKPOINT_EVERY = 5
LENGTH = 64
TOP_K = 8
REPLICAS = {
    "count": 2,
    "num_cpus": 0.5,
    "health_check_period_s": 1,
    "health_check_timeout_s": 5,
    "graceful_shutdown_timeout_s": 2,
    "environment": CPU_ENVIRONMENT,
}


@dataclass(frozen=True)
class ServedTeacher:
    """A cluster with a teacher, and what a run on it needs."""

    cluster: ClusterInfo
    folder: Path
    name: str
    """Its application, and the name of its model."""

    @property
    def url(self) -> str:
        return f"{self.cluster.serve_url}/{self.name}"

    def replicas(self) -> list[psutil.Process]:
        """The teacher's replicas, as soon as all of them stand."""

        def look() -> list[psutil.Process]:
            found = victims.replicas(self.cluster, self.name)
            with suppress(UserError):  # it is unhealthy until what died is replaced
                if len(found) == REPLICAS["count"] and all_running(self.cluster, [self.name]):
                    return found
            return []

        return victims.wait_for(look, f"the replicas of {self.name}")

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def order(self) -> list[str]:
        """The prompts' ids in the order in which a run takes them."""
        settings = TrainSettings.model_validate(yaml.safe_load(self.config.read_text()))
        stream = PromptStream(settings.data.train, settings.shuffle_seed)
        return [stream.row(0, index).id for index in range(len(stream))]


def make_files(folder: Path, rows: int, teachers: Sequence[str] = ("bigram", "vllm")) -> None:
    """Models, prompts, token and configs in `folder`."""
    save_tiny_llama(folder / "vllm-teacher", seed=0)
    save_tiny_llama(folder / "vllm-student", seed=1)
    save_letter_student(folder / "letter-student")
    (folder / "token").write_text("a-token-for-faults-alone")
    write_rows(folder / "data", map(make_row, range(rows)), row_group=5)
    for teacher in teachers:
        (folder / f"{teacher}.yaml").write_text(yaml.safe_dump(_run_settings(folder, teacher)))


def save_letter_student(path: Path) -> None:
    """A random Llama with the stand-in's tokenizer."""
    save_tiny_llama(path, seed=1, vocab_size=VOCABULARY_SIZE, hidden_size=64, intermediate_size=128)
    make_tokenizer().save_pretrained(path)


def make_row(number: int) -> PromptRow:
    """A short prompt in letters that the stand-in's tokenizer knows, its completion among few others."""
    city = "".join("abcdefghil"[int(digit)] for digit in str(number))
    turns = (Turn("user", f"weather in {city}"),)
    return PromptRow(f"row-{number}", city, turns, f"action: rain {city}", f"trace-{number}", 1, "train")


def _run_settings(folder: Path, teacher: str) -> dict[str, Any]:
    return {
        "run_folder": str(folder / "unnamed"),
        "data": {"train": str(folder / "data"), "max_length": LENGTH, "template": _TEMPLATES[teacher]},
        "student": {"model": str(folder / _STUDENTS[teacher]), "dtype": "float32", "lora": {"rank": 4}},
        "teacher": {
            "url": "http://see.command.line", "model": teacher, "token_file": str(folder / "token"), "top_k": TOP_K,
            "timeout_s": 30, "window": _WINDOWS[teacher],
        },
        "loss": {"alpha": 1.0},
        "optimizer": {"learning_rate": 0.005},
        "workers": {"count": 1, "gpus": 0, "threads": 1},
        "batch_size": BATCH,
        "checkpoint_every": CHECKPOINT_EVERY,
    }  # fmt: skip


_STUDENTS = {"bigram": "letter-student", "slow": "letter-student", "vllm": "vllm-student"}
_TEMPLATES = {"bigram": "chat", "slow": "chat", "vllm": "toolbench"}
_WINDOWS = {"bigram": 32, "slow": None, "vllm": 32}
"""Wide from the start, so that much is under way when something dies; the slow one's sizes itself to its pace."""
_PACE = {"bigram": {}, "slow": {"seconds": 0.5, "at_once": 4}}
"""What the stand-in takes: two replicas of the slow one answer as many prompts a second as four batches hold."""


def serve_teachers(cluster: ClusterInfo, folder: Path, *names: str) -> None:
    """Deploy the teachers `names`, and wait until they run."""
    deploy(cluster, {"applications": [_application(folder, name) for name in names]}, timeout_s=600)


def _application(folder: Path, name: str) -> dict[str, Any]:
    values = {"name": name, "token_file": str(folder / "token"), "replicas": REPLICAS}
    if name in _PACE:
        values["model"] = str(folder / _STUDENTS[name])
        served = application(name, TeacherServerSettings.model_validate(values))
        return served | {"import_path": "tests.faults.stand_in_teacher:build", "args": served["args"] | _PACE[name]}
    engine = {
        "dtype": "float32", "max_length": 2 * LENGTH, "max_top_k": TOP_K, "kv_cache_gib": 0.125, "enforce_eager": True,
        "prefix_caching": False,
    }  # fmt: skip
    values["replicas"] = REPLICAS | {"health_check_timeout_s": 60}  # an engine that a test stopped is no dead one
    values |= {"model": str(folder / "vllm-teacher"), "engine": engine}
    return application(name, TeacherServerSettings.model_validate(values))
