"""Whole training runs side by side: this project's, and TRL's `ServerDistillationTrainer`; steps per second.

`python -m tests.benchmarks.end_to_end`. Each is run as its users run it, beside a teacher that is up all the time:
ours by `ray job submit` on Ray Train against Ray Serve + vLLM, TRL's `trainer.train()` in a virtual environment of its
own against vLLM's OpenAI server. They take turns, ROUNDS times.

Alike: both models, float32; the prompts; tokens of prompt and completion of every sequence; sequences of a step, in one
micro-batch; k; forward KL with the tail bucket at temperature 1; LoRA, AdamW, learning rate, clipping; one thread per
process, the same cores and priority for all processes; vLLM's engine settings, without prefix cache; torch,
transformers and PEFT, which TRL's environment borrows from this one.

Not alike: TRL's student writes every completion before it is scored. That time is left out of its step, and stands
apart; our completions are recorded ones of the same length. Its teacher then waits for its trainer, and its trainer for
its teacher; ours work at the same time. Ours also runs a cluster, keeps a ledger and a record of all answers, and
verifies each; TRL logs every few steps. A step of either is the time from the end of the step before it, whatever
fills it; of ours, FIRST and LAST steps are left out: at its start a run has answers in hand, at its end its teacher
has no more to do.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml

from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import submit_job
from cluster.local.settings import ClusterSettings
from common.render import load_tokenizer
from common.run_folder import RunFolder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import LoraSettings
from tests.benchmarks import serving, trl_run
from tests.benchmarks.report import finish
from tests.benchmarks.timing import peer_python
from tests.benchmarks.workload import engine_settings, run_settings, save_rows
from tests.models import CPU_ENVIRONMENT

TRL = "trl==1.16.0"
BATCH, PROMPT, COMPLETION, TOP_K, VOCABULARY = 4, 384, 128, 64, 4096
STUDENT = {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 1024, "head_dim": 64}
TEACHER = {"num_hidden_layers": 6, "hidden_size": 512, "intermediate_size": 2048, "head_dim": 128}
ROUNDS, STEPS, TRL_STEPS = 2, 80, 11
FIRST, LAST = 40, 6
"""Of our steps, those that are left out: until the window has its size, and after the last prompt was asked."""
TARGETS = {"steps_vs_trl": ">= 2"}


@dataclass(frozen=True)
class Job:
    """What both train on."""

    folder: Path
    student: Path
    prompts: list[list[int]]
    token_file: Path


def main() -> None:
    os.environ.update(CPU_ENVIRONMENT, RAY_worker_niceness="0")  # Ray gives its workers a lower priority than others'
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, peer_python(TRL) as python:
        if python:
            figures = compare(Path(name), python)
    finish("end_to_end", figures, TARGETS, bool(figures) and figures["steps_vs_trl"] >= 2)


def compare(folder: Path, python: Path) -> dict[str, float]:
    """The figures, from runs that take turns while both teachers are up."""
    engine = engine_settings(PROMPT + COMPLETION, TOP_K)
    settings = serving.teacher_settings(serving.save_model(folder / "teacher", VOCABULARY, **TEACHER), engine)
    student = serving.save_model(folder / "student", VOCABULARY, seed=1, **STUDENT)
    tokenizer = load_tokenizer(student)
    prompts = save_rows(folder / "data", tokenizer, BATCH * STEPS, PROMPT, COMPLETION)
    assert settings.token_file is not None
    job, ours, theirs = Job(folder, student, prompts, settings.token_file), [], []
    with local_cluster(ClusterSettings()) as cluster:
        url = serving.serve_teachers(cluster, teacher=settings)["teacher"]
        with serving.vllm_serve(settings) as vllm_url:
            for number in range(ROUNDS):
                theirs.append(run_theirs(job, python, vllm_url))
                ours.append(run_ours(job, cluster, url, number))
                print(f"round {number + 1}: ours {ours[-1]}, TRL {theirs[-1]}", flush=True)
    return figures_of(mean_of(ours), mean_of(theirs))


def figures_of(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """From the seconds of a step and its parts."""
    trained = theirs["step"] - theirs["generation"]
    figures = {
        "steps_vs_trl": trained / ours["step"],
        "steps_vs_trl_with_generation": theirs["step"] / ours["step"],
        "steps_per_s_ours": 1 / ours["step"],
        "steps_per_s_trl": 1 / trained,
        "tokens_per_s_ours": BATCH * (PROMPT + COMPLETION) / ours["step"],
        "tokens_per_s_trl": BATCH * (PROMPT + COMPLETION) / trained,
        "waited_fraction_ours": ours["waited"] / ours["step"],
        "waited_fraction_trl": theirs["teacher"] / trained,
        "trl_generation_s": theirs["generation"],
        "trl_teacher_s": theirs["teacher"],
        "trl_training_s": trained - theirs["teacher"],
    }
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def run_ours(job: Job, cluster: ClusterInfo, url: str, number: int) -> dict[str, float]:
    """Seconds of a step: of all of it, and of waiting for the teacher."""
    run = job.folder / f"run-{number}"
    values = run_settings(job.folder, job.student, PROMPT + COMPLETION, TOP_K, BATCH, STEPS) | {"run_folder": str(run)}
    values["teacher"] |= {"url": url, "token_file": str(job.token_file)}
    config = job.folder / "kd.yaml"
    config.write_text(yaml.safe_dump(TrainSettings.model_validate(values).model_dump(mode="json", exclude_unset=True)))
    arrivals = Arrivals(run)
    lines: list[str] = []
    with arrivals:
        code = submit_job(cluster, ["python", "-m", "student_trainer", "train", str(config)], lines.append)
    if code != 0:
        raise RuntimeError("the run failed:\n" + "\n".join(lines[-20:]))
    steps = [line for line in read_metrics(run) if "progress/used" in line]
    assert [step["progress/used"] for step in steps] == [BATCH] * STEPS
    counted = range(FIRST, STEPS - LAST)
    waited = statistics.fmean(steps[number]["time/waited_s"] for number in counted)
    seconds = arrivals.at(counted.stop - 1) - arrivals.at(counted.start - 1)
    return {"step": seconds / len(counted), "waited": waited}


class Arrivals:
    """Notes when each line of a run's metrics came; they hold no time of day."""

    LOOK_EVERY_S = 0.02

    def __init__(self, run: Path) -> None:
        self._file, self._seen, self._ended = RunFolder(run).metrics, list[float](), Event()
        self._watcher = Thread(target=self._watch)

    def __enter__(self) -> "Arrivals":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def at(self, line: int) -> float:
        """When line number `line` came, from 0; of a run without validation, a line is a step."""
        return self._seen[line]

    def _watch(self) -> None:
        while not self._ended.wait(self.LOOK_EVERY_S):
            lines = self._file.read_bytes().count(b"\n") if self._file.exists() else 0
            self._seen += [time.perf_counter()] * (lines - len(self._seen))


def run_theirs(job: Job, python: Path, url: str) -> dict[str, float]:
    """Mean seconds of a step: of all of it, of generation, and of the teacher's answers."""
    lora = LoraSettings()
    values = {
        "model": str(job.student),
        "folder": str(job.folder / "trl"),
        "url": url,
        "lora": {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": lora.target_modules},
        "prompts": job.prompts[: BATCH * TRL_STEPS],
        "completion": COMPLETION,
        "loss_top_k": TOP_K,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-3,
        "max_grad_norm": 1.0,
        "max_steps": TRL_STEPS,
    }
    task, answer = job.folder / "task.json", job.folder / "answer.json"
    task.write_text(json.dumps(values))
    command = [str(python), "-P", trl_run.__file__, str(task), str(answer)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"TRL's run failed:\n{done.stdout[-3000:]}")
    seconds: dict[str, list[float]] = json.loads(answer.read_text())
    return {part: statistics.fmean(each) for part, each in seconds.items()}


def mean_of(rounds: list[dict[str, Any]]) -> dict[str, float]:
    return {part: statistics.fmean(each[part] for each in rounds) for part in rounds[0]}


if __name__ == "__main__":
    main()
