"""What faults cost: the seconds of training that each takes, and how much work is done while something always dies.

`python -m tests.benchmarks.recovery`. Real Ray, Serve and Train with the faults of `tests/faults`, on small models.
Most faults meet a teacher that takes its time, half a second for an answer and four steps a second, so that the pace of
a run hangs on it and not on the machine.

A fault's seconds are those from the harm until the run stood one step further: finding out, starting again and doing
again what came after the newest checkpoint are in it, and the length of an outage too. A full disk has no such figure:
it lasts until somebody makes room.

Then a run goes on while a training worker, a replica and Serve's controller die in turn, one every INTERVAL restarts.
Its pace is set beside its own undisturbed pace, taken before and afterwards: `goodput_of_bound` =
goodput ÷ (1 − restart ÷ interval), with the mean seconds that these victims cost alone. In the ledger of no run may a
prompt be missing or stand twice.
"""

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cluster.local import local_cluster
from cluster.settings import PoolSettings
from student_trainer.live.stream import PromptStream
from student_trainer.persistence.ledger import USED
from student_trainer.persistence.run_folder import newest_step
from tests.benchmarks.report import finish
from tests.faults import damage, victims
from tests.faults.conftest import CLUSTER
from tests.faults.faults import FAULTS, IMPATIENT, endpoint_gone, hurt, serve_gone
from tests.faults.resubmission import hurt_checkpoint, resubmitted
from tests.faults.runs import Run, running
from tests.faults.stage import BATCH, Stage, make_files, serve_teachers

ROWS, OUTAGE_S = 128, 10.0
APART = 3
"""Steps between two faults of a run."""
ON_VLLM = ("replica_killed", "engine_killed")
NODES = ("teacher_node_lost", "trainer_node_lost")
"""Last of all: they stay lost."""
SHORTER = {"outage": partial(endpoint_gone, seconds=OUTAGE_S), "serve_gone": partial(serve_gone, seconds=OUTAGE_S)}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "driver_killed": lambda _: None,
    "checkpoint_cut": partial(hurt_checkpoint, damage.truncate, "adapter_model.safetensors", 12),
    "record_torn": lambda run: damage.tear(run / "record"),
}
"""What the driver's death comes with, in turn; the second one comes after step 12."""
DRIVER_DIES_EVERY = 6
ROTATING = ("worker_killed", "replica_killed", "controller_killed")
INTERVAL, WARM_UP_STEPS, LEAST = 5, 10, 0.9
TARGETS = {"goodput_of_bound": f">= {LEAST}", "prompts_lost": "0", "prompts_repeated": "0"}


def main() -> None:
    settings = CLUSTER.model_copy(update={"teacher": PoolSettings(nodes=2)})
    with tempfile.TemporaryDirectory() as name, local_cluster(settings) as cluster:
        folder = Path(name)
        make_files(folder, ROWS, ("slow", "vllm"))
        serve_teachers(cluster, folder, "slow", "vllm")
        slow, vllm = (Stage(cluster, folder, teacher) for teacher in ("slow", "vllm"))
        around = [each for each in FAULTS if each not in ON_VLLM + NODES]
        lost = lost_seconds(slow, around) | lost_to_the_driver(slow)
        for each in ON_VLLM:
            lost |= lost_seconds(vllm, (each,))
        figures = goodput(slow, statistics.fmean(lost[each] for each in ROTATING))
        for each in NODES:
            lost |= lost_seconds(slow, (each,), workers__count="[1, 2]")
        figures |= accounts(slow)
    figures |= {f"lost_s_{each}": seconds for each, seconds in lost.items()}
    met = figures["goodput_of_bound"] >= LEAST and not figures["prompts_lost"] and not figures["prompts_repeated"]
    finish("recovery", {each: round(value, 3) for each, value in figures.items()}, TARGETS, met)


def lost_seconds(stage: Stage, names: Sequence[str], **settings: object) -> dict[str, float]:
    """What each of these faults costs, in one run that suffers them one after the other."""
    steps = range(2, 2 + APART * len(names), APART)
    faults = [(step, SHORTER.get(name, FAULTS[name])) for step, name in zip(steps, names, strict=True)]
    assert BATCH * (steps[-1] + 2) <= ROWS, "more faults than the run has steps for"
    outcome = hurt(stage, "-".join(names)[:40], faults, **(IMPATIENT | settings))
    return dict(zip(names, outcome.lost_s, strict=True))


def lost_to_the_driver(stage: Stage) -> dict[str, float]:
    """What it costs that the driver dies, starting again included, alone and with what else may be damaged then."""
    damages = [(DRIVER_DIES_EVERY * number, hurt) for number, hurt in enumerate(DAMAGES.values(), 1)]
    return dict(zip(DAMAGES, resubmitted(stage, "driver-killed", damages).lost_s, strict=True))


def goodput(stage: Stage, restart_s: float) -> dict[str, float]:
    """The figures of a run that loses something every INTERVAL restarts."""
    interval_s = INTERVAL * restart_s
    settings = {"teacher__url": stage.url, "epochs": 100_000}
    with running(stage.cluster, stage.config, stage.folder / "goodput", **settings) as run:
        run.wait_for_step(WARM_UP_STEPS)
        before = pace(run, interval_s, lambda: None)
        disturbed = statistics.fmean(pace(run, interval_s, partial(kill, stage, run, each)) for each in ROTATING)
        undisturbed = statistics.fmean((before, pace(run, interval_s, lambda: None)))
    share, bound = disturbed / undisturbed, 1 - 1 / INTERVAL
    print(f"restart {restart_s:.1f} s, interval {interval_s:.0f} s: {disturbed:.2f} of {undisturbed:.2f} steps/s")
    return {"goodput_of_bound": share / bound, "restart_s": restart_s}


def pace(run: Run, seconds: float, begin: Callable[[], None]) -> float:
    """Steps per second that a run gains in so many, which begin with `begin`."""
    before, started = newest_step(run.folder), time.monotonic()
    begin()
    time.sleep(max(0.0, started + seconds - time.monotonic()))  # what is measured
    gained, took = newest_step(run.folder) - before, time.monotonic() - started
    print(f"{gained} steps in {took:.1f} s")
    return gained / took


def kill(stage: Stage, run: Run, name: str) -> None:
    """Kill what the fault of that name kills."""
    if name == "worker_killed":
        victims.kill(run.workers()[-1])
    elif name == "replica_killed":
        victims.kill(stage.replicas()[0])
    else:
        victims.kill(victims.controller(stage.cluster))


def accounts(stage: Stage) -> dict[str, float]:
    """How many prompts of all runs, each up to the last of its ledger, are missing there or stand there repeatedly."""
    rows, totals = len(PromptStream(stage.data, seed=0)), Counter[str]()
    for ledger in stage.folder.glob(f"*/{USED}"):
        used = Counter((entry["epoch"], entry["position"]) for entry in map(json.loads, ledger.open()))
        epoch, position = max(used)
        totals["prompts_used"] += len(used)
        totals["prompts_lost"] += epoch * rows + position + 1 - len(used)
        totals["prompts_repeated"] += used.total() - len(used)
    return dict(totals)


if __name__ == "__main__":
    main()
