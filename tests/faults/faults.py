"""The faults, as functions that a test or a benchmark calls while a run stands still behind its relay.

Each lets prompts go at the right moment and returns when the harm was done, in `time.monotonic()` seconds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from tests.faults import victims
from tests.faults.relay import Relay, relaying
from tests.faults.runs import Run, running
from tests.faults.stage import BATCH, Stage
from tests.faults.victims import stopped, wait_for

IN_FLIGHT = 8
"""Fewest prompts that a killed teacher is working on."""
PATIENCE_S = 3.0
"""How long runs that are IMPATIENT wait for an answer."""
IMPATIENT: dict[str, object] = {"teacher__timeout_s": PATIENCE_S, "teacher__attempts": 1000}
"""Settings of runs on teachers that are slow or stopped: a prompt may meet the one that stands still time and again."""


@dataclass(frozen=True)
class Scene:
    """A run, its teacher, and the relay between them."""

    stage: Stage
    run: Run
    relay: Relay
    until: int
    """The position in the order to which prompts may go, once the fault lets them."""

    def let_go(self) -> None:
        """Let prompts pass the relay."""
        self.relay.limit = self.until

    @property
    def asked_again(self) -> int:
        """Prompts that were asked more than once."""
        return sum(times > 1 for times in self.relay.asked.values())


Fault = Callable[[Scene], float]


def replica_killed(scene: Scene, engine_alone: bool = False) -> float:
    """One of the vLLM teacher's replicas dies, or its engine's process alone, while it works on IN_FLIGHT prompts."""
    engines = [victims.engine(replica) for replica in scene.stage.replicas()]
    before = scene.asked_again
    stage = scene.stage
    with (
        victims.watching(stage.cluster, stage.teacher, IN_FLIGHT) as busy_replica,
        stopped(*engines),  # so that replicas keep what they get; not for long, else they count as hung
    ):
        scene.let_go()
        replica = busy_replica()
        victims.kill(victims.engine(replica) if engine_alone else replica)
        killed = time.monotonic()
    wait_for(lambda: scene.asked_again - before >= IN_FLIGHT, "prompts that were asked again")
    return killed


def replicas_stopped(scene: Scene) -> float:
    """Every replica stands still for longer than the client waits for an answer, and goes on."""
    before = scene.asked_again
    with stopped(*scene.stage.replicas()):
        harmed = time.monotonic()
        scene.let_go()
        time.sleep(2 * PATIENCE_S)  # how long they stand still is the fault
    wait_for(lambda: scene.asked_again > before, "a prompt that was asked again")
    return harmed


def replica_stopped_for_good(scene: Scene) -> float:
    """One replica stands still until Serve has replaced it."""
    replicas = scene.stage.replicas()
    harmed = time.monotonic()
    with stopped(replicas[0]):
        scene.let_go()
        wait_for(lambda: not replicas[0].is_running(), "Serve to end a replica that stands still")
    return harmed


def teacher_slow(scene: Scene) -> float:
    """Answers come later than the client waits for them, until a prompt was asked again."""
    before, harmed = scene.asked_again, time.monotonic()
    scene.relay.delay_s = 2 * PATIENCE_S
    scene.let_go()
    wait_for(lambda: scene.asked_again > before, "a prompt that was asked again")
    scene.relay.delay_s = 0.0
    return harmed


def controller_killed(scene: Scene) -> float:
    """Serve's controller dies; another takes over."""
    controller = victims.controller(scene.stage.cluster)
    victims.kill(controller)
    harmed = time.monotonic()
    scene.let_go()
    wait_for(lambda: victims.controller(scene.stage.cluster) != controller, "another controller")
    return harmed


def endpoint_gone(scene: Scene, seconds: float) -> float:
    """What is under way is cut off, and connections are refused for so many seconds."""
    endpoint = scene.relay.endpoint
    assert endpoint is not None
    endpoint.close()
    harmed = time.monotonic()
    scene.let_go()
    time.sleep(seconds)  # how long it lasts is the fault
    endpoint.open()
    return harmed


def serve_gone(scene: Scene, seconds: float) -> float:
    """Proxy and replicas die, and the controller stands still for so many seconds before it can replace them."""
    cluster = scene.stage.cluster
    serving = [victims.proxy(cluster), *scene.stage.replicas()]
    with stopped(victims.controller(cluster)):
        victims.kill(*serving)
        harmed = time.monotonic()
        scene.let_go()
        time.sleep(seconds)  # how long it lasts is the fault
    return harmed


def worker_killed(scene: Scene) -> float:
    """The last training worker dies."""
    victims.kill(scene.run.workers()[-1])
    harmed = time.monotonic()
    scene.let_go()
    return harmed


def teacher_node_lost(scene: Scene) -> float:
    """Every process of a node with a replica dies at once."""
    return _node_lost(scene, scene.stage.replicas()[0])


def trainer_node_lost(scene: Scene) -> float:
    """Every process of a node with a training worker dies at once."""
    return _node_lost(scene, scene.run.workers()[-1])


def _node_lost(scene: Scene, inhabitant: psutil.Process) -> float:
    victims.kill(*victims.node_of(scene.stage.cluster, inhabitant))
    harmed = time.monotonic()
    scene.let_go()
    return harmed


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
    """What a hurt run left, and what each fault cost."""

    folder: Path
    lost_s: list[float]
    """Seconds from each fault until the run stood one step further than before."""
    relay: Relay


def hurt(stage: Stage, name: str, faults: Sequence[tuple[int, Fault]], **settings: object) -> Outcome:
    """Run to the end, suffering each fault right after its step; steps ascend. Raises AssertionError if it fails."""
    limits = [BATCH * step for step, _ in faults[1:]] + [len(stage.order)]
    lost_s = []
    with relaying(stage.url, stage.order) as relay:
        relay.limit = BATCH * faults[0][0]
        with running(stage.cluster, stage.config, stage.folder / name, teacher__url=relay.url, **settings) as run:
            for (step, fault), until in zip(faults, limits, strict=True):
                run.wait_for_step(step)
                harmed = fault(Scene(stage, run, relay, until))
                run.wait_for_step(step + 1)
                lost_s.append(round(time.monotonic() - harmed, 1))
            run.succeed()
    print(f"{name}: lost {lost_s} s")
    return Outcome(run.folder, lost_s, relay)
