"""Every model judged alike, through the HTTP API: its scores on recorded rows, and its episodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.demos.runner import DemoCluster, application
from cluster.experiment.arms import EXPERT, GENERALIST
from cluster.experiment.training import base_of
from cluster.experiment.workspace import Workspace
from common.run_folder import RunFolder
from eval.rollouts.policy_settings import ServedPolicySettings
from eval.rollouts.search_settings import ChainSettings
from eval.rollouts.settings import RolloutSettings, SamplingSettings, WorldEnvironmentSettings
from eval.settings import EvalSettings, GroupSettings, ServedModelSettings
from teacher_server.settings import TeacherServerSettings

TEACHER, STUDENT = "teacher", "student"
"""The two applications: on the larger base, and on the students' base."""


@dataclass(frozen=True)
class Served:
    """Where a model is served: the application, and its name there."""

    application: str
    model: str


def place_of(name: str) -> Served:
    """Where a cell's model is served."""
    if name in (EXPERT, GENERALIST):
        return Served(TEACHER, name)
    return Served(STUDENT, "base" if name == STUDENT else name)


def serve(workspace: Workspace, cluster: DemoCluster, students: list[str]) -> str:
    """Deploy the teacher, and the students that are there; returns the base URL."""
    applications = [_application(workspace, TEACHER, workspace.settings.expert, [EXPERT])]
    if students:
        applications.append(_application(workspace, STUDENT, workspace.settings.student, students))
    return cluster.serve(*applications)


def judge(workspace: Workspace, cluster: DemoCluster, name: str, url: str) -> None:
    """Score a model and let it act, unless that is done."""
    if not workspace.scores(name).exists():
        _command(workspace, cluster, "score", name, _scoring(workspace, name, url))
    act(workspace, cluster, name, url, name, workspace.settings.evaluation.splits)
    workspace.update(
        name,
        status="done",
        reason="",
        scores=Path("scores") / f"{name}.json",
        episodes={"": Path("episodes") / name},
    )


def act(
    workspace: Workspace,
    cluster: DemoCluster,
    name: str,
    url: str,
    output: str,
    splits: list[str],
    shuffled: bool = False,
) -> None:
    """Let a model act on the tasks of `splits`, unless that is done; with descriptions `shuffled` as a control."""
    if (workspace.episodes(output) / "summary.json").exists():
        return
    evaluation, place = workspace.settings.evaluation, place_of(name)
    rollout = RolloutSettings(
        policy=ServedPolicySettings(
            url=f"{url}/{place.application}",
            model=place.model,
            tokenizer=str(base_of(workspace.settings.student)),
            max_length=workspace.settings.engine.max_length,
            token_file=workspace.token_file,
        ),
        environment=WorldEnvironmentSettings(folder=workspace.world, splits=splits, shuffled_descriptions=shuffled),
        search=ChainSettings(max_steps=evaluation.steps),
        sampling=SamplingSettings(temperature=0, max_tokens=evaluation.max_new_tokens),
        output=workspace.episodes(output),
        tasks=evaluation.tasks,
    )
    _command(workspace, cluster, "rollout", output, rollout.model_dump(mode="json"))


def _scoring(workspace: Workspace, name: str, url: str) -> Mapping[str, Any]:
    evaluation, place = workspace.settings.evaluation, place_of(name)
    trained = RunFolder(workspace.run(name))
    settings = EvalSettings(
        models={
            name: ServedModelSettings(
                url=f"{url}/{place.application}",
                model=place.model,
                trained_by=trained.path if trained.config.exists() else None,
            )
        },
        groups={split: GroupSettings(rows=workspace.rows(split)) for split in evaluation.splits},
        world=workspace.world,
        tokenizer=str(base_of(workspace.settings.student)),
        output=workspace.scores(name),
        token_file=workspace.token_file,
        rows=evaluation.rows,
        max_length=workspace.settings.engine.max_length,
        max_new_tokens=evaluation.max_new_tokens,
    )
    return settings.model_dump(mode="json")


def _command(workspace: Workspace, cluster: DemoCluster, command: str, name: str, settings: Mapping[str, Any]) -> None:
    file = workspace.config(command, name)
    file.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    cluster.run.command("eval", command, file)


def _application(workspace: Workspace, name: str, config: Path, trained: list[str]) -> dict[str, Any]:
    settings = TeacherServerSettings(
        model=str(base_of(config)),
        name="base",
        adapters={each: RunFolder(workspace.run(each)).adapter for each in trained},
        token_file=workspace.token_file,
        engine=workspace.settings.engine,
        replicas=workspace.settings.replicas,
    )
    return application(name, settings)
