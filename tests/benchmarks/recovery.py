"""What faults cost: the seconds of training that each takes, and how much work is done while something always dies.

`python -m tests.benchmarks.recovery`. Real Ray, Serve and Train with the faults of `tests/faults`, on small models.
Most faults meet a teacher that takes its time, half a second for an answer and four steps a second, so that the pace of
a run hangs on it and not on the machine.

A fault's seconds are those that its run took until all replicas stood again and some steps more were done, less those
that it takes for as many steps undisturbed: finding out, starting again and doing again what came after the newest
checkpoint are in it, and the length of an outage too. Where vLLM or the driver dies, the run stands still, and the
seconds are those until it stood one step further. A full disk has no such figure: it lasts until somebody makes room.

Then a run goes on while a training worker, a replica and Serve's controller die in turn, one every INTERVAL restarts;
a restart is the mean of what each of them cost that run before, on its own. `goodput_of_bound` =
goodput ÷ (1 − restart ÷ interval), of its own undisturbed pace, taken before and afterwards. In the ledger of no run
may a prompt be missing or stand twice.
"""

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cluster.local.local_cluster import local_cluster
from cluster.local.settings import PoolSettings
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.persistence.run_folder import newest_step
from tests.benchmarks.report import finish
from tests.faults import damage, victims
from tests.faults.conftest import CLUSTER
from tests.faults.faults import FAULTS, IMPATIENT, Target, run_with_faults
from tests.faults.relay import relaying
from tests.faults.resubmission import damage_checkpoint, resubmitted
from tests.faults.runs import Run, running
from tests.faults.served_teacher import ServedTeacher, make_files, serve_teachers

ROWS = 6000
"""More than any run takes, so that each asks for a prompt once."""
WARM_UP_STEPS, STEPS, SHORT_RUN = 20, 40, 24
"""Taken before anything is measured; at an undisturbed pace, and after each fault; by runs that stand still for one."""
ON_VLLM = ("replica_killed", "engine_killed")
NODES = ("teacher_node_lost", "trainer_node_lost")
"""Last of all: they stay lost."""
DAMAGES: dict[str, Callable[[Path], None]] = {
    "driver_killed": lambda _: None,
    "checkpoint_cut": partial(damage_checkpoint, damage.truncate, "adapter_model.safetensors", 12),
    "record_torn": lambda run: damage.tear(run / "record"),
}
"""What the driver's death comes with, in turn; the second one comes after step 12."""
DRIVER_DIES_EVERY = 6
ROTATING = ("worker_killed", "replica_killed", "controller_killed")
INTERVAL, ROTATIONS, LEAST = 5, 2, 0.9
TARGETS = {"goodput_of_bound": f">= {LEAST}", "prompts_lost": "0", "prompts_repeated": "0"}


def main() -> None:
    settings = CLUSTER.model_copy(update={"teacher": PoolSettings(nodes=2)})
    with tempfile.TemporaryDirectory() as name, local_cluster(settings) as cluster:
        folder = Path(name)
        make_files(folder, ROWS, ("slow", "vllm"))
        serve_teachers(cluster, folder, "slow", "vllm")
        slow, vllm = (ServedTeacher(cluster, folder, teacher) for teacher in ("slow", "vllm"))
        lost = lost_to_the_driver(slow)
        for each in ON_VLLM:
            lost |= {each: run_with_faults(vllm, each, [(3, FAULTS[each])], {"max_steps": SHORT_RUN}).lost_s[0]}
        around = [each for each in FAULTS if each not in ON_VLLM + NODES]
        lost |= lost_on_the_way(slow, "around", around)
        figures = goodput(slow)
        lost |= lost_on_the_way(slow, "nodes", NODES, {"workers.count": "[1, 2]"})
        figures |= accounts(slow)
    figures |= {f"lost_s_{each}": seconds for each, seconds in lost.items()}
    met = figures["goodput_of_bound"] >= LEAST and not figures["prompts_lost"] and not figures["prompts_repeated"]
    finish("recovery", {each: round(value, 3) for each, value in figures.items()}, TARGETS, met)


def lost_on_the_way(
    teacher: ServedTeacher, name: str, faults: Sequence[str], settings: Mapping[str, object] = {}
) -> dict[str, float]:
    """What each of these faults costs a run that goes on while it suffers them one after the other."""
    lost: dict[str, float] = {}
    with relaying(teacher.url, teacher.order) as relay:
        settings = {**IMPATIENT, **settings, "teacher.url": relay.url}
        with running(teacher.cluster, teacher.config, teacher.folder / name, settings) as run:
            target = Target(teacher, run, relay, len(teacher.order))
            run.wait_for_step(WARM_UP_STEPS)
            undisturbed = pace(run, lambda: run.wait_for_step(WARM_UP_STEPS + STEPS))
            for each in faults:
                lost[each] = lost_to(partial(FAULTS[each], target), teacher, run, undisturbed)
                print(f"{each}: lost {lost[each]:.1f} s", flush=True)
    return lost


def lost_to(fault: Callable[[], object], teacher: ServedTeacher, run: Run, undisturbed: float) -> float:
    """Seconds that `fault` takes from a run, whose pace is `undisturbed` steps per second."""
    before, began = newest_step(run.folder), time.monotonic()
    fault()
    teacher.replicas()
    run.wait_for_step(newest_step(run.folder) + STEPS)
    return time.monotonic() - began - (newest_step(run.folder) - before) / undisturbed


def lost_to_the_driver(teacher: ServedTeacher) -> dict[str, float]:
    """What it costs that the driver dies, starting again included, alone and with what else may be damaged then."""
    damages = [(DRIVER_DIES_EVERY * number, harm) for number, harm in enumerate(DAMAGES.values(), 1)]
    outcome = resubmitted(teacher, "driver-killed", damages, {"max_steps": SHORT_RUN})
    return dict(zip(DAMAGES, outcome.lost_s, strict=True))


def goodput(teacher: ServedTeacher) -> dict[str, float]:
    """The figures of a run that loses something every INTERVAL restarts."""
    settings = {"teacher.url": teacher.url, "epochs": 100}
    with running(teacher.cluster, teacher.config, teacher.folder / "goodput", settings) as run:
        kills = [partial(kill, teacher, run, each) for each in ROTATING]
        run.wait_for_step(WARM_UP_STEPS)
        before = pace(run, lambda: run.wait_for_step(WARM_UP_STEPS + STEPS))
        restart_s = statistics.fmean(lost_to(each, teacher, run, before) for each in kills)
        interval_s = INTERVAL * restart_s
        disturbed = statistics.fmean(pace(run, partial(spend, interval_s, each)) for each in kills * ROTATIONS)
        undisturbed = statistics.fmean((before, pace(run, partial(spend, interval_s, lambda: None))))
        run.wait_for_step(newest_step(run.folder) + 1)  # it still runs: nothing of the above was taken from its end
    share, bound = disturbed / undisturbed, 1 - 1 / INTERVAL
    print(f"restart {restart_s:.1f} s, interval {interval_s:.0f} s: {disturbed:.2f} of {undisturbed:.2f} steps/s")
    return {"goodput_of_bound": share / bound, "restart_s": restart_s}


def pace(run: Run, meanwhile: Callable[[], None]) -> float:
    """Steps per second that a run gains `meanwhile`."""
    before, began = newest_step(run.folder), time.monotonic()
    meanwhile()
    gained, took = newest_step(run.folder) - before, time.monotonic() - began
    print(f"{gained} steps in {took:.1f} s", flush=True)
    return gained / took


def spend(seconds: float, begin: Callable[[], None]) -> None:
    """Return so many seconds after `begin` was called."""
    end = time.monotonic() + seconds
    begin()
    time.sleep(max(0.0, end - time.monotonic()))  # what is measured


def kill(teacher: ServedTeacher, run: Run, name: str) -> None:
    """Kill what the fault of that name kills."""
    if name == "worker_killed":
        victims.kill(run.workers()[-1])
    elif name == "replica_killed":
        victims.kill(teacher.replicas()[0])
    else:
        victims.kill(victims.controller(teacher.cluster))


def accounts(teacher: ServedTeacher) -> dict[str, float]:
    """How many prompts of all runs, each up to the last of its ledger, are missing there or stand there repeatedly."""
    rows, totals = len(PromptStream(teacher.data, seed=0)), Counter[str]()
    for ledger in teacher.folder.glob("*/used.jsonl"):
        used = Counter((entry["epoch"], entry["index"]) for entry in map(json.loads, ledger.open()))
        epoch, position = max(used)
        totals["prompts_used"] += len(used)
        totals["prompts_lost"] += epoch * rows + position + 1 - len(used)
        totals["prompts_repeated"] += used.total() - len(used)
    return dict(totals)


if __name__ == "__main__":
    main()
