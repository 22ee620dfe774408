"""Episodes of agents in the generated world: many in flight against one at a time, and against the engine alone.

`python -m tests.benchmarks.episodes [embedded] [smollm2]`: real Ray Serve, real vLLM. Base models write what they like,
so every turn is as long as it may be, and every episode as many turns; what is measured is the loop, the client and the
service around the engine, and no skill. The bare engine is given the very prompts of the episodes, as many at a time.

`vs_sequential` is the rate of episodes with IN_FLIGHT at a time over that with one. `vs_engine` is the generated tokens
per second of these episodes over the bare engine's.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.agents.bounds import BoundSettings
from common.agents.environments.tool_world import ToolWorldEnvironment, read_tasks
from common.agents.episodes import Episode, EpisodeRunner
from common.agents.policies.served import ServedPolicy
from common.agents.policy import Sampling
from common.agents.search.chain import Chain
from common.agents.types import Trajectory, WrittenTurn
from common.render import Renderer, load_renderer
from common.sequences import Provenance
from common.teacher_client.pool import open_pool
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import Turn
from common.world.build import build_world
from common.world.saved import read_world
from common.world.settings import WorldSettings
from student_trainer.commands.fetch import SOURCES, PackageMissing, fetch
from teacher_server.settings import EngineSettings, TeacherServerSettings
from tests.benchmarks import serving
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians
from tests.models import CPU_ENVIRONMENT
from tests.serving import ROOT

IN_FLIGHT, STEPS, REPETITIONS = 32, 2, 3
EMBEDDED, SMOLLM2 = "embedded", "smollm2"
TASKS = {EMBEDDED: 64, SMOLLM2: 32}
TURN_TOKENS = {EMBEDDED: 48, SMOLLM2: 32}
LONGEST = {EMBEDDED: 1024, SMOLLM2: 1536}
TARGETS = {
    "embedded_vs_sequential": "at least 4",
    "embedded_vs_engine": "reported",
    "embedded_episodes_per_min": "reported",
    "smollm2_vs_engine": "at least 0.8",
    "smollm2_episodes_per_min": "reported",
}


def main(names: Sequence[str]) -> None:
    os.environ.update(CPU_ENVIRONMENT)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"train_tasks": 1, "query_tasks": 0, "evaluation_tasks": max(TASKS.values()), "corpus_documents": 0}
        build_world(WorldSettings.model_validate(sizes), folder / "world")
        for model in names or (EMBEDDED, SMOLLM2):
            try:
                figures |= measure(model, folder)
            except PackageMissing as error:
                print(f"{model} is not measured: {error}", flush=True)
    met = figures.get("embedded_vs_sequential", 0) >= 4 and figures.get("smollm2_vs_engine", 0) >= 0.8
    finish("episodes", figures, TARGETS, met)


def measure(model: str, folder: Path) -> dict[str, float]:
    """Figures of one model. Raises PackageMissing where it can't be fetched."""
    settings = serving.teacher_settings(_model(model, folder), _engine(model))
    renderer = load_renderer(settings.model, "toolbench", LONGEST[model])
    with local_cluster(ClusterSettings()) as cluster:
        [url] = serving.serve_teachers(cluster, teacher=settings).values()
        run = Run(model, folder / "world", url, settings, renderer)
        with serving.bare_engine(settings) as engine:
            asyncio.run(run.episodes(IN_FLIGHT))
            works = {
                "many": lambda: asyncio.run(run.episodes(IN_FLIGHT)),
                "one": lambda: asyncio.run(run.episodes(1)),
                "engine": lambda: engine.run(run.engine_alone(engine)),
            }
            if model == SMOLLM2:
                del works["one"]
            seconds = medians(works, REPETITIONS, warm_ups=0)
    return run.figures(seconds)


class Run:
    """The same episodes, again and again; the prompts of their turns are kept."""

    def __init__(self, model: str, world: Path, url: str, settings: TeacherServerSettings, renderer: Renderer) -> None:
        self._model, self._url, self._renderer = model, url, renderer
        self._world, self._tasks = read_world(world), read_tasks(world, "seen")[: TASKS[model]]
        token = settings.token_file
        assert token is not None
        self._asked = TeacherClientSettings(url=url, model=settings.name, top_k=1, token_file=token)
        self._prompts: list[list[int]] = []
        self._written = self._alone = 0

    async def episodes(self, in_flight: int) -> None:
        """Run the episodes; with one at a time, a quarter of them."""
        tasks = self._tasks if in_flight > 1 else self._tasks[: len(self._tasks) // 4]

        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(open_pool(self._asked, _fits))
            await pool.meet()
            policy = _Remembering(ServedPolicy(pool, self._asked, self._renderer, LONGEST[self._model], "student"))
            sampling = Sampling(seed=0, temperature=1.0, max_tokens=TURN_TOKENS[self._model])
            bounds = BoundSettings()
            runner = EpisodeRunner(
                policy, lambda: ToolWorldEnvironment(self._world), lambda _: Chain(max_steps=STEPS), sampling, bounds
            )
            ended = [each async for each in runner.run_all(map(Episode, tasks), in_flight)]
        assert all(isinstance(each, Trajectory) for each in ended), ended
        if in_flight > 1:
            self._prompts = [self._renderer.turn_ids(turns) for turns in policy.asked]
            self._written = sum(each.completion_tokens for each in ended if isinstance(each, Trajectory))

    async def engine_alone(self, engine: serving.BareEngine) -> None:
        """Have the engine write behind the prompts of the episodes, as many at a time."""
        places = asyncio.Semaphore(IN_FLIGHT)

        async def write(number: int, prompt: list[int]) -> int:
            async with places:
                return await engine.write(prompt, TURN_TOKENS[self._model], number)

        self._alone = sum(await asyncio.gather(*(write(*each) for each in enumerate(self._prompts))))

    def figures(self, seconds: dict[str, float]) -> dict[str, float]:
        """From the seconds of `episodes` and `engine_alone`."""
        minutes = seconds["many"] / 60
        found = {
            "vs_engine": self._written / seconds["many"] / (self._alone / seconds["engine"]),
            "episodes_per_min": len(self._tasks) / minutes,
        }
        if "one" in seconds:
            found["vs_sequential"] = found["episodes_per_min"] / (len(self._tasks) // 4 / (seconds["one"] / 60))
        print(self._model, {name: round(each, 1) for name, each in seconds.items()}, "seconds", flush=True)
        return {f"{self._model}_{name}": round(figure, 3) for name, figure in found.items()}


class _Remembering:
    """A policy that remembers the turns that it was asked to go on from."""

    def __init__(self, policy: ServedPolicy) -> None:
        self._policy = policy
        self.asked: list[tuple[Turn, ...]] = []

    @property
    def provenance(self) -> Provenance:
        return self._policy.provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        self.asked.append(tuple(turns))
        return await self._policy.write(turns, sampling)


async def _fits(*_: object) -> None:
    """The handshake is no part of what is measured."""


def _model(model: str, folder: Path) -> Path:
    """A folder with the model, which may be written beside. Raises PackageMissing."""
    place = folder / model
    if model == SMOLLM2:
        fetch(SOURCES["smollm2"], place)
    else:
        shutil.copytree(ROOT / "student_trainer/base_models/student", place)
    return place


def _engine(model: str) -> EngineSettings:
    return EngineSettings(
        dtype="float32" if model == EMBEDDED else "bfloat16",
        max_length=LONGEST[model],
        max_batched_tokens=2048,
        max_running_sequences=IN_FLIGHT,
        max_top_k=8,
        kv_cache_gib=1,
        enforce_eager=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
