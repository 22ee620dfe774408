"""The demo's models as agents: each acts on the tasks of the world, and one episode is shown."""

from pathlib import Path

import yaml

from cluster.demos.runner import DemoRun
from cluster.demos.settings import DemoSettings
from cluster.demos.verdict import DISTILLED, FINE_TUNED, SEEN, TEACHER, UNSEEN_TOOL
from common.agents.trajectories import TrajectoryStore
from common.agents.types import Trajectory
from eval.rollouts.policy_settings import ServedPolicySettings
from eval.rollouts.search_settings import ChainSettings
from eval.rollouts.settings import RolloutSettings, SamplingSettings, WorldEnvironmentSettings
from eval.rollouts.transcript import show

AGENTS = {FINE_TUNED: ("student", "ft"), DISTILLED: ("student", "kd"), TEACHER: ("teacher", "expert")}
"""What acts, and where it is served: application and model."""


def act(run: DemoRun, settings: DemoSettings, url: str, tokenizer: Path) -> dict[str, list[Trajectory]]:
    """`python -m eval rollout` for each agent; its trajectories by the agent's name."""
    return {
        name: _roll_out(run, settings, f"{url}/{place}", model, tokenizer) for name, (place, model) in AGENTS.items()
    }


def show_an_episode(run: DemoRun, trajectories: dict[str, list[Trajectory]]) -> None:
    """Print an episode of the distilled student on a tool that training never saw: one that it solved, if it did."""
    unseen = [episode for episode in trajectories[DISTILLED] if episode.group == UNSEEN_TOOL]
    show(run.console, max(unseen, key=lambda episode: (bool(episode.solved), len(episode.steps))))


def _roll_out(run: DemoRun, settings: DemoSettings, url: str, model: str, tokenizer: Path) -> list[Trajectory]:
    rollout = RolloutSettings(
        policy=ServedPolicySettings(
            url=url,
            model=model,
            tokenizer=str(tokenizer),
            max_length=settings.engine.max_length,
            token_file=run.token_file,
        ),
        environment=WorldEnvironmentSettings(folder=run.folder / "world", splits=[SEEN, UNSEEN_TOOL]),
        search=ChainSettings(max_steps=settings.rollout_steps),
        sampling=SamplingSettings(temperature=0, max_tokens=settings.max_new_tokens),
        output=run.folder / "episodes" / model,
        tasks=settings.rollout_tasks,
    )
    file = run.folder / f"rollout-{model}.yaml"
    file.write_text(yaml.safe_dump(rollout.model_dump(mode="json"), sort_keys=False))
    run.command("eval", "rollout", file)
    return TrajectoryStore(rollout.output).read()
