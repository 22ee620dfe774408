"""A simulated fleet: what the client side costs, how long trainers wait, and whether they get the same.

`python -m tests.benchmarks.fleet [SECONDS]`, seconds for each size. Teachers only wait (`waiting_teachers.py`, in a
process of its own), trainers only sleep for a step's length. What lies between is real, and runs in this process:
stream, renderer, window, client, HTTP over loopback's sockets, verification, record; each trainer has its event loop.
Over sockets and in real time, since an in-process transport and a virtual clock would leave out the system's part of
sending and receiving. Trainers that sleep take no CPU and the teachers' isn't counted: that of all threads of this
process is the clients'.

Trainers are independent of each other, without the exchange of gradients that would make them equal. Rows have the
length of ToolBench's. With four replicas for each trainer the fleet can answer twice what is asked.

Legend: TxR = T trainers, R replicas. `waited` is the part of all trainers' time; `waited_least` what the replicas' pace
alone costs; `slowest_of_mean` and `jain`, (Σx)² / (n Σx²), are of trainers' steps per second, 1 where all are equal.

At the end, an epoch of ToolBench is computed for 70B and 8B models, each assumption said beside its number.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event

import torch

from cluster.local.nodes import free_ports
from cluster.local.processes import die_with_parent
from common.render import load_renderer, load_tokenizer
from student_trainer.data.plan import plan_steps
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step_times import times_of
from student_trainer.pipeline.adaptive_window import StepSeen
from student_trainer.pipeline.build import open_source
from student_trainer.settings import TrainSettings
from tests.benchmarks.epoch import describe_epoch
from tests.benchmarks.report import finish
from tests.benchmarks.serving import await_health
from tests.benchmarks.waiting_teachers import Fleet, card
from tests.benchmarks.workload import run_settings, save_rows
from tests.models import VOCABULARY_SIZE, save_tiny_tokenizer

PROMPT, COMPLETION, TOP_K, BATCH, ROWS = 2256, 250, 64, 2, 64
STEP_S, AT_ONCE, WAIT_S = 2.5, 1, 2.5
BALANCED = (64, 256)
SIZES = ((1, 1), (1, 4), (1, 256), (8, 32), (64, 64), BALANCED)
SECONDS, WARM_UP_S, START_S = 30.0, 20.0, 120.0


@dataclass(frozen=True)
class Trained:
    """What one trainer did while it was watched."""

    began: list[float]
    """When each of its steps had its examples."""
    waited: list[float]
    """Seconds that it waited for those of each."""
    positions: int

    @property
    def seconds(self) -> float:
        """From the first of these steps to the last."""
        return self.began[-1] - self.began[0]

    @property
    def pace(self) -> float:
        """Steps per second."""
        return (len(self.began) - 1) / self.seconds


@dataclass(frozen=True)
class Watch:
    """When trainers begin together, when they are watched, and when they end."""

    begin: Barrier
    watched: Event
    ended: Event


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = save_tiny_tokenizer(folder / "student")
        save_rows(folder / "data", tokenizer, ROWS, PROMPT, COMPLETION)
        for trainers, replicas in SIZES:
            measured = run(folder, trainers, replicas, seconds)
            print(f"{trainers} trainers, {replicas} replicas: {measured}", flush=True)
            figures |= {f"{figure}_{trainers}x{replicas}": value for figure, value in measured.items()}
    figures |= describe_epoch(figures["client_cpu_ms_per_1000_positions_{}x{}".format(*BALANCED)])
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    finish("fleet", rounded, dict.fromkeys(rounded, "reported"), met=True)


def run(folder: Path, trainers: int, replicas: int, seconds: float) -> dict[str, float]:
    """The figures of one size, watched for so many seconds."""
    watch = Watch(Barrier(trainers + 1, timeout=START_S), Event(), Event())
    with serving(folder, replicas) as url, ThreadPoolExecutor(trainers) as threads:
        try:
            work = [threads.submit(train, folder, url, rank, trainers, watch) for rank in range(trainers)]
            watch.begin.wait()
            time.sleep(WARM_UP_S)  # connections and windows settle
            watch.watched.set()
            cpu = time.process_time()
            time.sleep(seconds)  # what is measured
            cpu = time.process_time() - cpu
        finally:
            watch.ended.set()
        trained = [each.result() for each in work]
    return figures_of(trained, cpu, replicas, seconds)


def figures_of(trained: list[Trained], cpu_s: float, replicas: int, seconds: float) -> dict[str, float]:
    paces = [each.pace for each in trained]
    needed, given = len(trained) * BATCH / STEP_S, replicas * AT_ONCE / WAIT_S
    return {
        "client_cpu_ms_per_1000_positions": 1e6 * cpu_s / sum(each.positions for each in trained),
        "client_cores": cpu_s / seconds,
        "waited": sum(sum(each.waited[1:]) for each in trained) / sum(each.seconds for each in trained),
        "waited_least": max(0.0, 1 - given / needed),
        "slowest_of_mean": min(paces) / statistics.fmean(paces),
        "jain": sum(paces) ** 2 / (len(paces) * sum(pace**2 for pace in paces)),
    }


def train(folder: Path, url: str, rank: int, trainers: int, watch: Watch) -> Trained:
    """One trainer: what its loop does with a source, but for the step, which is slept through."""
    settings = settings_of(folder, url, rank, trainers)
    renderer = load_renderer(settings.student.model, settings.data.template, settings.data.max_length)
    stream = PromptStream(settings.data.train, settings.shuffle_seed)
    plans = plan_steps(len(stream), settings.batch_size, settings.epochs, None, rank, trainers)
    began: list[float] = []
    waited: list[float] = []
    positions = 0
    alone = ProcessGroup(0, 1, torch.device("cpu"))
    with open_source(settings, stream, renderer, VOCABULARY_SIZE, rank, trainers) as source:
        watch.begin.wait()
        for examples in source.steps(plans):
            if watch.watched.is_set():
                began.append(time.perf_counter())
                waited.append(examples.waited_s)
                positions += sum(len(example.sequence.completion_ids) for example in examples.examples)
            if watch.ended.wait(STEP_S):
                break
            source.observe(StepSeen.of(times_of(examples, 0.0, 0.0, alone)))
    return Trained(began, waited, positions)


def settings_of(folder: Path, url: str, rank: int, trainers: int) -> TrainSettings:
    values = run_settings(folder, folder / "student", PROMPT + COMPLETION, TOP_K, BATCH * trainers, 1000)
    values["run_folder"] = tempfile.mkdtemp(prefix=f"run-{rank}-", dir=folder)
    values["teacher"] |= {"url": url, "token_file": str(folder / "token")}
    return TrainSettings.model_validate(values)


@contextmanager
def serving(folder: Path, replicas: int) -> Iterator[str]:
    """The address of so many replicas."""
    (folder / "token").write_text("fleet\n")
    (port,) = free_ports(1)
    said = card(load_tokenizer(folder / "student"), VOCABULARY_SIZE, TOP_K, max_length=8192)
    fleet = Fleet(port=port, replicas=replicas, at_once=AT_ONCE, wait_s=WAIT_S, card=said)
    (folder / "fleet.json").write_text(json.dumps(fleet.model_dump(mode="json")))
    command = [sys.executable, "-m", "tests.benchmarks.waiting_teachers", str(folder / "fleet.json")]
    process = subprocess.Popen(command, preexec_fn=die_with_parent)
    try:
        await_health(f"http://127.0.0.1:{port}/v1/teacher", process, 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
