"""An experiment's folder: where everything of it stands, and the manifest by which reports find it."""

import platform
import secrets
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count
from pathlib import Path

import yaml

from cluster.experiment.arms import ARMS, EXPERT, GENERALIST, SECONDARY
from cluster.experiment.settings import ExperimentSettings
from common.errors import UserError
from common.files import write_atomically
from eval.compare.manifest import MANIFEST, Cell, Comparison, Environment, GateCheck, Manifest, read_manifest

SETTINGS = "config.yaml"
SEEN, UNSEEN = "seen", "unseen_tool"
TASK_SUCCESS = "task_success"
VERSIONS = ("ray", "torch", "transformers", "peft")


@dataclass
class Workspace:
    """The folder of one experiment. `manifest` is written whole whenever it changes."""

    settings: ExperimentSettings
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return self.settings.folder.resolve()

    @property
    def world(self) -> Path:
        """The world's own files."""
        return self.folder / "world"

    @property
    def token_file(self) -> Path:
        """The API key of what is served."""
        return self.folder / "token"

    def rows(self, split: str) -> Path:
        """A split's rows."""
        return self.folder / "data" / split

    def config(self, kind: str, name: str) -> Path:
        """The YAML of one command, which can be given again by itself."""
        return self.folder / "configs" / f"{kind}-{name}.yaml"

    def run(self, name: str) -> Path:
        """A training's run folder."""
        return self.folder / "runs" / name

    def scores(self, name: str) -> Path:
        """What `eval score` writes."""
        return self.folder / "scores" / f"{name}.json"

    def episodes(self, name: str) -> Path:
        """What `eval rollout` writes."""
        return self.folder / "episodes" / name

    def cell(self, name: str) -> Cell:
        """What the manifest says of a model."""
        return next(cell for cell in self.manifest.cells if cell.name == name)

    def update(self, name: str, **found: object) -> None:
        """Change what the manifest says of a model."""
        cells = [cell.model_copy(update=found) if cell.name == name else cell for cell in self.manifest.cells]
        self._write(self.manifest.model_copy(update={"cells": cells}))

    def set_gate(self, gate: list[GateCheck]) -> None:
        """Write down what the gate found."""
        self._write(self.manifest.model_copy(update={"gate": gate}))

    def _write(self, manifest: Manifest) -> None:
        self.manifest = manifest
        write_atomically(self.folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def open_workspace(settings: ExperimentSettings) -> Workspace:
    """The experiment's folder, new or as it was left.

    Raises UserError where it holds an experiment with other settings, or its manifest can't be read.
    """
    folder = settings.folder.resolve()
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    _keep(settings, folder / SETTINGS)
    (folder / "scores").mkdir(exist_ok=True)
    file = folder / MANIFEST
    workspace = Workspace(settings, read_manifest(file) if file.exists() else new_manifest(settings))
    workspace.set_gate(workspace.manifest.gate)
    if not workspace.token_file.exists():
        workspace.token_file.touch(mode=0o600)
        workspace.token_file.write_text(secrets.token_urlsafe(32) + "\n")
    return workspace


def _keep(settings: ExperimentSettings, file: Path) -> None:
    """Write the settings down. Raises UserError where others stand there, by which something was made already."""
    now = settings.model_dump(mode="json", exclude={"runs"})
    if file.exists():
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
        changed = sorted(key for key in now if before.get(key) != now[key])
        if changed:
            raise UserError(
                f"{file.parent} holds this experiment with other settings ({', '.join(changed)}); give another name, "
                "or the same settings to go on"
            )
    write_atomically(file, yaml.safe_dump(now, sort_keys=False))


def new_manifest(settings: ExperimentSettings) -> Manifest:
    """What is to be compared, written down before anything runs."""
    compared = [pair for pair in SECONDARY if set(pair) <= set(settings.arms)]
    primary = Comparison(measure=TASK_SUCCESS, split=UNSEEN, arms=("D", "A"), question=settings.question)
    return Manifest(
        name=settings.name,
        question=settings.question,
        primary=primary if "D" in settings.arms else None,
        secondary=[
            Comparison(measure=TASK_SUCCESS, split=UNSEEN, arms=pair, question=SECONDARY[pair]) for pair in compared
        ],
        arms={arm: ARMS[arm].title for arm in settings.arms},
        roles={"expert": EXPERT, "generalist": GENERALIST, "untuned student": "student"},
        cells=[
            *(Cell(name=name, status="not_run") for name in (EXPERT, GENERALIST, "student")),
            *(
                Cell(name=student_name(arm, seed), arm=arm, seed=seed, status="not_run")
                for seed in settings.seeds
                for arm in settings.arms
            ),
        ],
        environment=Environment(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=f"{cpu_count()} CPU cores, {platform.machine()}",
            command=shlex.join(["python", "-m", "cluster", *sys.argv[1:]]),
            versions={name: version(name) for name in VERSIONS},
        ),
    )


def student_name(arm: str, seed: int) -> str:
    """What the student of an arm and a seed is called everywhere."""
    return f"{arm}-s{seed}"
