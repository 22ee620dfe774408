"""What faults cost: the seconds of training that each takes, and how much work is done while something always dies.

`python -m tests.benchmarks.recovery`. Real Ray, Serve and Train with the faults of `tests/faults`, on small models.

A fault's seconds are those from the harm until the run stood one step further: finding out, starting again and doing
again what came after the newest checkpoint are in it, and the length of an outage too.

Then a run goes on while a training worker, a replica and Serve's controller die in turn, one every INTERVAL restarts.
Its pace is set beside its own undisturbed pace: `goodput_of_bound` = goodput ÷ (1 − restart ÷ interval), with the mean
seconds that these victims cost alone. No prompt of its ledger may be missing or stand there twice.
"""

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cluster.local import local_cluster
from student_trainer.ledger import USED
from student_trainer.run_folder import newest_step
from student_trainer.stream import PromptStream
from tests.benchmarks.report import finish
from tests.faults import victims
from tests.faults.conftest import CLUSTER
from tests.faults.faults import FAULTS, IMPATIENT, endpoint_gone, hurt, serve_gone
from tests.faults.runs import Run, running
from tests.faults.stage import BATCH, Stage, make_files, serve_teachers

ROWS, OUTAGE_S = 160, 10.0
ON_VLLM = ("replica_killed", "engine_killed")
NODES = ("teacher_node_lost", "trainer_node_lost")
"""Last of all: they stay lost."""
SHORTER = {"outage": partial(endpoint_gone, seconds=OUTAGE_S), "serve_gone": partial(serve_gone, seconds=OUTAGE_S)}
ROTATING = ("worker_killed", "replica_killed", "controller_killed")
INTERVAL, ROUNDS, WARM_UP_STEPS, LEAST = 5, 1, 5, 0.9
TARGETS = {"goodput_of_bound": f">= {LEAST}", "prompts_lost": "0", "prompts_repeated": "0"}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, local_cluster(CLUSTER) as cluster:
        folder = Path(name)
        make_files(folder, ROWS)
        serve_teachers(cluster, folder, "bigram", "vllm")
        bigram, vllm = (Stage(cluster, folder, teacher) for teacher in ("bigram", "vllm"))
        around = [each for each in FAULTS if each not in ON_VLLM + NODES]
        lost = lost_seconds(vllm, ON_VLLM) | lost_seconds(bigram, around)
        figures = goodput(bigram, statistics.fmean(lost[each] for each in ROTATING))
        for each in NODES:
            lost |= lost_seconds(bigram, (each,), workers__count="[1, 2]")
    figures |= {f"lost_s_{each}": seconds for each, seconds in lost.items()}
    met = figures["goodput_of_bound"] >= LEAST and not figures["prompts_lost"] and not figures["prompts_repeated"]
    finish("recovery", {each: round(value, 3) for each, value in figures.items()}, TARGETS, met)


def lost_seconds(stage: Stage, names: tuple[str, ...] | list[str], **settings: object) -> dict[str, float]:
    """What each of these faults costs, in one run that suffers them one after the other."""
    steps = range(2, 2 + 3 * len(names), 3)
    faults = [(step, SHORTER.get(name, FAULTS[name])) for step, name in zip(steps, names, strict=True)]
    assert BATCH * (steps[-1] + 2) <= ROWS, "more faults than the run has steps for"
    outcome = hurt(stage, "-".join(names)[:40], faults, **IMPATIENT, **settings)
    return dict(zip(names, outcome.lost_s, strict=True))


def goodput(stage: Stage, restart_s: float) -> dict[str, float]:
    """The figures of a run that loses something every INTERVAL restarts."""
    interval_s = INTERVAL * restart_s
    settings = {"teacher__url": stage.url, "epochs": 100_000}
    with running(stage.cluster, stage.config, stage.folder / "goodput", **settings) as run:
        run.wait_for_step(WARM_UP_STEPS)
        undisturbed = pace(run, interval_s, lambda: None)
        kills = [partial(kill, stage, run, name) for _ in range(ROUNDS) for name in ROTATING]
        disturbed = statistics.fmean(pace(run, interval_s, each) for each in kills)
    share, bound = disturbed / undisturbed, 1 - 1 / INTERVAL
    print(f"restart {restart_s:.1f} s, interval {interval_s:.0f} s: {disturbed:.2f} of {undisturbed:.2f} steps/s")
    return {"goodput_of_bound": share / bound, "restart_s": restart_s, **accounts(run.folder, stage)}


def pace(run: Run, seconds: float, begin: Callable[[], None]) -> float:
    """Steps per second that a run gains in so many, which begin with `begin`."""
    before, started = newest_step(run.folder), time.monotonic()
    begin()
    time.sleep(max(0.0, started + seconds - time.monotonic()))
    return (newest_step(run.folder) - before) / (time.monotonic() - started)


def kill(stage: Stage, run: Run, name: str) -> None:
    """Kill what the fault of that name kills."""
    if name == "worker_killed":
        victims.kill(run.workers()[-1])
    elif name == "replica_killed":
        victims.kill(stage.replicas()[0])
    else:
        victims.kill(victims.controller(stage.cluster))


def accounts(run: Path, stage: Stage) -> dict[str, float]:
    """How many prompts up to the last of the ledger are missing in it, or stand there more than once."""
    lines = (run / USED).read_text().splitlines()
    used = Counter((entry["epoch"], entry["position"]) for entry in map(json.loads, lines))
    epoch, position = max(used)
    rows = len(PromptStream(stage.data, seed=0))
    return {
        "prompts_used": used.total(),
        "prompts_lost": epoch * rows + position + 1 - len(used),
        "prompts_repeated": sum(times - 1 for times in used.values()),
    }


if __name__ == "__main__":
    main()
