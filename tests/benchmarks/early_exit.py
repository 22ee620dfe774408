"""Early exit on 100 tasks of the generated world: what it saves, what it loses, and what a teacher makes of the rest.

`python -m tests.benchmarks.early_exit RUN`: RUN is the folder of a `make demo`, whose students and teacher are served
again. The distilled student acts on tools that training never saw: to the end; with an exit that a rule asks for once a
step repeats or fails; and so that the teacher goes on behind each exit. The rule stands in for a verifier model: one as
small as the demo's was never taught to judge. Without RUN only that is said.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.demos.runner import application
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import deploy
from cluster.local.settings import ClusterSettings
from common.agents.bounds import BoundSettings
from common.agents.environments.tool_world import ToolWorldEnvironment, read_tasks
from common.agents.episodes import Bound, Episode, EpisodeRunner
from common.agents.policies.served import ServedPolicy
from common.agents.policy import Policy, Sampling
from common.agents.search.early_exit import EarlyExit, exit_figures, observed_progress
from common.agents.types import Trajectory, WrittenTurn
from common.render import load_renderer
from common.run_folder import RunFolder
from common.sequences import Provenance
from common.teacher_client.pool import open_pool
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import Turn
from common.world.build import build_world
from common.world.saved import read_world
from common.world.settings import WorldSettings
from teacher_server.settings import TeacherServerSettings
from tests.benchmarks.report import finish
from tests.models import CPU_ENVIRONMENT
from tests.serving import ROOT

TASKS, MAX_STEPS, LONGEST = 100, 8, 1024
FIGURES = (
    "saved_steps", "redundant_steps", "redundant_steps_without", "lost_progress", "exits", "solved", "solved_exit",
    "solved_handed_over",
)  # fmt: skip
TARGETS = dict.fromkeys(FIGURES, "reported")


class RepeatsOrFails:
    """Says STOP where the last observation was seen before, or is an error."""

    provenance: Provenance = "teacher"

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        *before, last = [turn.content for turn in turns if turn.role == "function"]
        failed = bool(json.loads(last).get("error"))
        return [WrittenTurn("STOP" if failed or last in before else "CONTINUE", "stop", "rule")] * sampling.n


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        print("nothing is measured: give the run folder of a `make demo`")
        finish("early_exit", {}, TARGETS, met=False)
        return
    demo = Path(arguments[0]).resolve()
    os.environ["TOOLAGENT_KD_TOKEN"] = (demo / "token").read_text().strip()
    world = demo / "early_exit_world"
    build_world(WorldSettings(evaluation_tasks=TASKS, train_tasks=1, query_tasks=0, corpus_documents=0), world)
    with local_cluster(ClusterSettings()) as cluster:
        url = deploy(cluster, {"applications": [_application(demo, name) for name in ("student", "teacher")]})
        figures = asyncio.run(measure(url, world))
    finish("early_exit", figures, TARGETS, met=True)


async def measure(url: str, world: Path) -> dict[str, float]:
    """The figures of the three ways."""
    renderer = load_renderer(str(ROOT / "student_trainer/base_models/student"), "toolbench", LONGEST)
    asked = {name: TeacherClientSettings(url=f"{url}/{place}", model=name, top_k=1) for name, place in PLACES.items()}
    async with open_pool(asked["kd"], _fits) as students, open_pool(asked["expert"], _fits) as teachers:
        await students.meet()
        await teachers.meet()
        student = ServedPolicy(students, asked["kd"], renderer, LONGEST, "student")
        teacher = ServedPolicy(teachers, asked["expert"], renderer, LONGEST, "teacher")
        full = await _episodes(student, lambda _: EarlyExit(MAX_STEPS), world)
        verified = {"extrinsic": True, "every": 1, "verifier": RepeatsOrFails()}
        exited = await _episodes(student, lambda _: EarlyExit(MAX_STEPS, **verified), world)
        handed = await _episodes(student, lambda bound: EarlyExit(MAX_STEPS, helper=bound(teacher), **verified), world)
    pairs = [(observed_progress(exited[id].steps), observed_progress(full[id].steps)) for id in full]
    found = exit_figures(pairs)
    return {
        "saved_steps": found.saved_steps,
        "redundant_steps": found.redundant_steps,
        "redundant_steps_without": found.redundant_steps_without,
        "lost_progress": found.lost_progress,
        "exits": sum(each.stop == "exit" for each in exited.values()) / len(exited),
        "solved": _solved(full),
        "solved_exit": _solved(exited),
        "solved_handed_over": _solved(handed),
    }


async def _episodes(policy: Policy, search: Callable[[Bound], EarlyExit], world: Path) -> dict[str, Trajectory]:
    made = read_world(world)
    sampling = Sampling(seed=0, temperature=0, max_tokens=128)
    runner = EpisodeRunner(policy, lambda: ToolWorldEnvironment(made), search, sampling, BoundSettings())
    ended = [each async for each in runner.run_all(map(Episode, read_tasks(world, "unseen_tool")), 32)]
    assert all(isinstance(each, Trajectory) for each in ended), ended
    return {each.episode: each for each in ended if isinstance(each, Trajectory)}


def _solved(episodes: dict[str, Trajectory]) -> float:
    return sum(bool(each.solved) for each in episodes.values()) / len(episodes)


async def _fits(*_: object) -> None:
    """The handshake is no part of what is measured."""


PLACES = {"kd": "student", "expert": "teacher"}
"""Where each model is served."""


def _application(demo: Path, name: str) -> dict[str, object]:
    """A teacher application as the demo served it."""
    model = next(model for model, place in PLACES.items() if place == name)
    settings = {
        "model": str(ROOT / "student_trainer/base_models" / name),
        "name": "base",
        "adapters": {model: RunFolder(demo / model).adapter},
        "token_file": demo / "token",
        "engine": {
            "dtype": "float32", "max_length": LONGEST, "max_batched_tokens": 2048, "max_top_k": 8, "kv_cache_gib": 0.25,
            "enforce_eager": True,
        },
        "replicas": {"num_cpus": 1, "environment": CPU_ENVIRONMENT},
    }  # fmt: skip
    return application(name, TeacherServerSettings.model_validate(settings))


if __name__ == "__main__":
    main(sys.argv[1:])
