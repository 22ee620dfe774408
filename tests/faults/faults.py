"""The faults, as functions that a test or a benchmark calls while a run stands still behind its relay.

Each lets prompts go at the right moment and returns when the harm was done, in `time.monotonic()` seconds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from tests.faults import victims
from tests.faults.relay import Relay, relaying
from tests.faults.runs import Run, running
from tests.faults.served_teacher import BATCH, ServedTeacher
from tests.faults.victims import stopped, wait_for

IN_FLIGHT = 8
"""Fewest prompts that a killed teacher is working on."""
PATIENCE_S = 3.0
"""How long runs that are IMPATIENT wait for an answer."""
IMPATIENT: Mapping[str, object] = {"teacher.timeout_s": PATIENCE_S, "teacher.attempts": 1000}
"""Settings of runs on teachers that are slow or stopped: a prompt may meet the one that stands still time and again."""


@dataclass(frozen=True)
class Target:
    """A run, its teacher, and the relay between them."""

    teacher: ServedTeacher
    run: Run
    relay: Relay
    until: int
    """The position in the order to which prompts may go, once the fault lets them."""

    def release(self) -> None:
        """Let prompts pass the relay."""
        self.relay.limit = self.until

    @property
    def asked_again(self) -> int:
        """Prompts that were asked more than once."""
        return sum(times > 1 for times in self.relay.asked.values())


Fault = Callable[[Target], float]


def replica_killed(target: Target, engine_alone: bool = False) -> float:
    """One of the vLLM teacher's replicas dies, or its engine's process alone, while it works on IN_FLIGHT prompts."""
    engines = [victims.engine(replica) for replica in target.teacher.replicas()]
    before = target.asked_again
    teacher = target.teacher
    with (
        victims.watching(teacher.cluster, teacher.name, IN_FLIGHT) as busy_replica,
        stopped(*engines),  # so that replicas keep what they get; not for long, else they count as hung
    ):
        target.release()
        replica = busy_replica()
        victims.kill(victims.engine(replica) if engine_alone else replica)
        killed = time.monotonic()
    wait_for(lambda: target.asked_again - before >= IN_FLIGHT, "prompts that were asked again")
    return killed


def replicas_stopped(target: Target) -> float:
    """Every replica stands still for longer than the client waits for an answer, and goes on."""
    before = target.asked_again
    with stopped(*target.teacher.replicas()):
        injected = time.monotonic()
        target.release()
        time.sleep(2 * PATIENCE_S)  # how long they stand still is the fault
    wait_for(lambda: target.asked_again > before, "a prompt that was asked again")
    return injected


def replica_stopped_for_good(target: Target) -> float:
    """One replica stands still until Serve has replaced it."""
    replicas = target.teacher.replicas()
    injected = time.monotonic()
    with stopped(replicas[0]):
        target.release()
        wait_for(lambda: not replicas[0].is_running(), "Serve to end a replica that stands still")
    return injected


def teacher_slow(target: Target) -> float:
    """Answers come later than the client waits for them, until a prompt was asked again."""
    before, injected = target.asked_again, time.monotonic()
    target.relay.delay_s = 2 * PATIENCE_S
    target.release()
    wait_for(lambda: target.asked_again > before, "a prompt that was asked again")
    target.relay.delay_s = 0.0
    return injected


def controller_killed(target: Target) -> float:
    """Serve's controller dies; another takes over."""
    controller = victims.controller(target.teacher.cluster)
    victims.kill(controller)
    injected = time.monotonic()
    target.release()
    wait_for(lambda: victims.controller(target.teacher.cluster) != controller, "another controller")
    return injected


def endpoint_gone(target: Target, seconds: float) -> float:
    """What is under way is cut off, and connections are refused for so many seconds."""
    endpoint = target.relay.endpoint
    assert endpoint is not None
    endpoint.close()
    injected = time.monotonic()
    target.release()
    time.sleep(seconds)  # how long it lasts is the fault
    endpoint.open()
    return injected


def serve_gone(target: Target, seconds: float) -> float:
    """Proxy and replicas die, and the controller stands still for so many seconds before it can replace them."""
    cluster = target.teacher.cluster
    serving = [victims.proxy(cluster), *target.teacher.replicas()]
    with stopped(victims.controller(cluster)):
        victims.kill(*serving)
        injected = time.monotonic()
        target.release()
        time.sleep(seconds)  # how long it lasts is the fault
    return injected


def worker_killed(target: Target) -> float:
    """The last training worker dies."""
    victims.kill(target.run.workers()[-1])
    injected = time.monotonic()
    target.release()
    return injected


def teacher_node_lost(target: Target) -> float:
    """Every process of a node with a replica dies at once."""
    return _node_lost(target, target.teacher.replicas()[0])


def trainer_node_lost(target: Target) -> float:
    """Every process of a node with a training worker dies at once."""
    return _node_lost(target, target.run.workers()[-1])


def _node_lost(target: Target, inhabitant: psutil.Process) -> float:
    victims.kill(*victims.node_of(target.teacher.cluster, inhabitant))
    injected = time.monotonic()
    target.release()
    return injected


FAULTS: dict[str, Fault] = {
    "replica_killed": replica_killed,
    "engine_killed": partial(replica_killed, engine_alone=True),
    "replicas_stopped": replicas_stopped,
    "replica_stopped_for_good": replica_stopped_for_good,
    "teacher_slow": teacher_slow,
    "controller_killed": controller_killed,
    "outage": partial(endpoint_gone, seconds=60),
    "serve_gone": partial(serve_gone, seconds=60),
    "worker_killed": worker_killed,
    "teacher_node_lost": teacher_node_lost,
    "trainer_node_lost": trainer_node_lost,
}


@dataclass(frozen=True)
class Outcome:
    """What a run with faults left, and what each fault cost."""

    folder: Path
    lost_s: list[float]
    """Seconds from each fault until the run stood one step further than before."""
    relay: Relay


def run_with_faults(
    teacher: ServedTeacher, name: str, faults: Sequence[tuple[int, Fault]], settings: Mapping[str, object] = {}
) -> Outcome:
    """Run to the end, suffering each fault right after its step; steps ascend. Raises AssertionError if it fails."""
    limits = [BATCH * step for step, _ in faults[1:]] + [len(teacher.order)]
    lost_s = []
    with relaying(teacher.url, teacher.order) as relay:
        relay.limit = BATCH * faults[0][0]
        settings = {**settings, "teacher.url": relay.url}
        with running(teacher.cluster, teacher.config, teacher.folder / name, settings) as run:
            for (step, fault), until in zip(faults, limits, strict=True):
                run.wait_for_step(step)
                injected = fault(Target(teacher, run, relay, until))
                run.wait_for_step(step + 1)
                lost_s.append(round(time.monotonic() - injected, 1))
            run.succeed()
    print(f"{name}: lost {lost_s} s")
    return Outcome(run.folder, lost_s, relay)
