"""How much of the overlap that is possible is had: teacher and student on a core each, at three ratios of their times.

`python -m tests.benchmarks.overlap`. Ray Serve and vLLM, with all of the teacher's processes, are pinned to one core,
the trainer (the project's loop in a process of its own, its client included) to another. The teacher stays the same;
for each ratio t/s the student gets so many layers as a calibration on two others says.

Sequential: the same code and settings, but a step's questions are let through to the teacher only when the step has
begun to wait for them. So a step takes t + s there, and both are measured alone: t is what it waited, s all else.
Overlapped: the window asks ahead, as wide as it finds right. The figures are

    of_bound = (t + s) / overlapped  ÷  (t + s) / max(t, s)

from means over steps, but the first and last few of each run. Of t the last answer's way home is a part, which no
teacher that is asked ahead waits for: where the teacher is the slower one, the bound can be passed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.render import load_tokenizer
from tests.benchmarks import serving
from tests.benchmarks.report import finish
from tests.benchmarks.workload import engine_settings, run_settings, save_rows
from tests.models import CPU_ENVIRONMENT

BATCH, PROMPT, COMPLETION, TOP_K, VOCABULARY = 4, 384, 128, 64, 4096
TEACHER = {"num_hidden_layers": 4, "hidden_size": 512, "intermediate_size": 2048, "head_dim": 128}
STUDENT = {"hidden_size": 128, "intermediate_size": 512, "head_dim": 32}
RATIOS, CALIBRATION_LAYERS = (0.5, 1.0, 2.0), (2, 12)
CALIBRATION_STEPS, SEQUENTIAL_STEPS, OVERLAPPED_STEPS = 8, 16, 80
WARM_UP, WARM_UP_AHEAD, LAST = 2, 40, 4
"""Steps left out: first ones, of a run that asks ahead until its window has its size, and its last ones too."""
LEAST = 0.9
TARGETS = {f"of_bound_{ratio:g}": f">= {LEAST}" for ratio in RATIOS}


@dataclass(frozen=True)
class Times:
    """Mean seconds of a step: waited for the teacher, and all else."""

    waited: float
    rest: float

    @property
    def step(self) -> float:
        return self.waited + self.rest


@dataclass(frozen=True)
class Bench:
    """The rows, the teacher that answers at `url`, and the core that trainers have."""

    folder: Path
    url: str
    token_file: Path
    core: int

    def train(self, layers: int, steps: int, ahead: bool) -> Times:
        """Train a student of so many layers."""
        student = self.folder / f"student-{layers}"
        if not student.exists():
            serving.save_model(student, VOCABULARY, num_hidden_layers=layers, seed=1, **STUDENT)
        values = run_settings(self.folder, student, PROMPT + COMPLETION, TOP_K, BATCH, steps)
        values["run_folder"] = tempfile.mkdtemp(dir=self.folder)
        values["teacher"] |= {"url": self.url, "token_file": str(self.token_file)}
        seconds = self._run({"settings": values, "ahead": ahead})
        counted = slice(WARM_UP_AHEAD, -LAST) if ahead else slice(WARM_UP, None)
        step, waited = (statistics.fmean(seconds[part][counted]) for part in ("step", "waited"))
        return Times(waited, step - waited)

    def _run(self, job: object) -> dict[str, list[float]]:
        task, answer = self.folder / "job.json", self.folder / "answer.json"
        task.write_text(json.dumps(job))
        command = [sys.executable, "-m", "tests.benchmarks.pinned_trainer", str(task), str(answer)]
        subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {self.core}))
        seconds: dict[str, list[float]] = json.loads(answer.read_text())
        return seconds


def main() -> None:
    os.environ.update(CPU_ENVIRONMENT, RAY_worker_niceness="0")  # Ray gives its workers a lower priority than others'
    cores = sorted(os.sched_getaffinity(0))
    figures: dict[str, float] = {}
    if len(cores) < 2:
        print("one core only: teacher and student can't have one each")
    else:
        os.sched_setaffinity(0, {cores[0]})  # what starts from here has it too: Ray, Serve and the engine
        with tempfile.TemporaryDirectory() as name, local_cluster(ClusterSettings()) as cluster:
            figures = measure(Path(name), cluster, *cores[:2])
    met = bool(figures) and all(figures[name] >= LEAST for name in TARGETS)
    finish("overlap", {name: float(f"{value:.4g}") for name, value in figures.items()}, TARGETS, met)


def measure(folder: Path, cluster: ClusterInfo, teacher_core: int, student_core: int) -> dict[str, float]:
    """The figures of all ratios."""
    engine = engine_settings(PROMPT + COMPLETION, TOP_K)
    settings = serving.teacher_settings(serving.save_model(folder / "teacher", VOCABULARY, **TEACHER), engine)
    save_rows(folder / "data", load_tokenizer(settings.model), BATCH * OVERLAPPED_STEPS, PROMPT, COMPLETION)
    url = serving.serve_teachers(cluster, teacher=settings)["teacher"]
    for process in psutil.Process(cluster.supervisor).children(recursive=True):
        assert process.cpu_affinity() == [teacher_core], process
    assert settings.token_file is not None
    bench = Bench(folder, url, settings.token_file, student_core)
    few, many = CALIBRATION_LAYERS
    students = {layers: bench.train(layers, CALIBRATION_STEPS, ahead=False) for layers in (few, many)}
    print(f"calibration, layers of the student: {students}", flush=True)
    per_layer = (students[many].rest - students[few].rest) / (many - few)
    asked = statistics.fmean(times.waited for times in students.values())
    figures: dict[str, float] = {}
    for ratio in RATIOS:
        layers = max(1, few + round((asked / ratio - students[few].rest) / per_layer))
        figures |= compare(bench, ratio, layers)
    return figures


def compare(bench: Bench, ratio: float, layers: int) -> dict[str, float]:
    """The figures of a student of so many layers, whose t/s should be `ratio`."""
    alone = bench.train(layers, SEQUENTIAL_STEPS, ahead=False)
    ahead = bench.train(layers, OVERLAPPED_STEPS, ahead=True)
    bound = alone.step / max(alone.waited, alone.rest)
    speedup = alone.step / ahead.step
    print(f"t/s {ratio:g}: {layers} layers, sequential {alone}, overlapped {ahead}", flush=True)
    return {
        f"of_bound_{ratio:g}": speedup / bound,
        f"speedup_{ratio:g}": speedup,
        f"bound_{ratio:g}": bound,
        f"measured_ratio_{ratio:g}": alone.waited / alone.rest,
        f"waited_fraction_{ratio:g}": ahead.waited / ahead.step,
    }


if __name__ == "__main__":
    main()
