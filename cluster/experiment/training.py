"""One cell's training: its settings, which anybody can submit alone, and the job."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cluster.demos.runner import DemoCluster
from cluster.experiment.arms import ARMS
from cluster.experiment.settings import ExperimentSettings
from cluster.experiment.workspace import Workspace, student_name
from common.errors import UserError
from common.run_folder import RunFolder
from common.settings import validate
from student_trainer.settings import TrainSettings


def expert_settings(workspace: Workspace) -> TrainSettings:
    """How the expert is trained: on the same recorded traces as arm A."""
    return _settings(workspace, workspace.settings.expert, "expert", {})


def student_settings(workspace: Workspace, arm: str, seed: int, url: str) -> TrainSettings:
    """How the student of an arm learns; of one seed all arms begin with one adapter, and read prompts in one order."""
    differing = dict(ARMS[arm].overrides()) | {"seed": seed, "shuffle_seed": seed}
    replays = ARMS[arm].replays
    if replays:
        differing["teacher.record_folder"] = str(RunFolder(workspace.run(student_name(replays, seed))).record)
    if ARMS[arm].teacher:
        differing |= {"teacher.url": url, "teacher.token_file": str(workspace.token_file)}
    return _settings(workspace, workspace.settings.student, student_name(arm, seed), differing)


def train(workspace: Workspace, cluster: DemoCluster, name: str, settings: TrainSettings) -> bool:
    """Train a cell unless that is done; a training that fails is written down, and the experiment goes on without it.

    Returns whether its adapter is there.
    """
    if RunFolder(settings.run_folder).summary.is_file():
        return True
    config = workspace.config("train", name)
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    began = time.monotonic()
    workspace.update(name, run=_relative(workspace, settings.run_folder), started_at=f"{datetime.now(UTC):%FT%TZ}")
    try:
        cluster.train(config, f"runs/{name}", {})
    except UserError as error:
        workspace.update(name, status="failed", reason=str(error))
        return False
    workspace.update(name, seconds=round(time.monotonic() - began, 1))
    return True


def base_of(config: Path) -> Path:
    """Folder of the model that a training begins with."""
    return Path(yaml.safe_load(config.read_text())["student"]["model"]).resolve()


def check(settings: ExperimentSettings, workspace: Workspace) -> dict[str, TrainSettings]:
    """The settings of every training, by cell. Raises UserError for the first that can't be."""
    students = {
        student_name(arm, seed): student_settings(workspace, arm, seed, "http://127.0.0.1:8000/teacher")
        for seed in settings.seeds
        for arm in settings.arms
    }
    return {"expert": expert_settings(workspace), **students}


def _settings(workspace: Workspace, file: Path, name: str, differing: Mapping[str, Any]) -> TrainSettings:
    try:
        values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read {file}: {error.strerror}; give the YAML of a training") from None
    own = {
        "run_folder": str(workspace.run(name)),
        "data.train": str(workspace.rows("train")),
        "data.validation": str(workspace.rows("seen")),
    }
    for key, value in {**own, **differing}.items():
        *sections, last = key.split(".")
        section = values
        for each in sections:
            section = section.setdefault(each, {})
        section[last] = value
    return validate(TrainSettings, values, f"{file}, as {name} has it")


def _relative(workspace: Workspace, path: Path) -> Path:
    return path.resolve().relative_to(workspace.folder)
