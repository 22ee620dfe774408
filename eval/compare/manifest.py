"""The manifest of an experiment, `experiment.json`: its question, its cells and where the files of each are.

    {"name": "embedded", "question": "…", "arms": {"A": "FT on recorded traces", "D": "…"},
     "primary": {"measure": "task_success", "split": "unseen_tool", "arms": ["D", "A"]},
     "cells": [{"name": "D-s1", "arm": "D", "seed": 1, "status": "done", "run": "runs/D-s1", …}], …}

Whoever runs an experiment writes it, `python -m eval compare` reads it. Paths are relative to the manifest. Comparisons
are written down here before anything runs.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from common.errors import UserError
from common.settings import Settings

MANIFEST = "experiment.json"


class Comparison(Settings):
    """One arm against another."""

    measure: str
    """What is compared: `task_success` of episodes, or a measure of scored rows (`eval.metrics.measures`)."""
    split: str
    """On which tasks or rows."""
    arms: tuple[str, str]
    """The difference is the first's less the second's."""
    margin: float = Field(default=0.05, gt=0)
    """Differences up to this size, a share or nats, don't matter: "no difference" is an interval within it."""
    question: str = ""
    """What the comparison is to tell."""


class GateCheck(Settings):
    """A condition without which the comparisons answer nothing."""

    check: str
    """What was measured."""
    seed: int
    value: float | None
    """null where it could not be measured."""
    expected: str
    """In words, as ">= 0.15"."""
    passed: bool


class Cell(Settings):
    """One model of the experiment: an arm under a seed, a teacher, or the untuned base."""

    name: str
    """Unique; evaluations call the model so."""
    arm: str | None = None
    """One of the experiment's arms; null for a teacher or a base."""
    seed: int = 0
    status: Literal["done", "failed", "not_run"]
    reason: str = ""
    """Why it isn't done."""
    run: Path | None = None
    """Its run folder."""
    scores: Path | None = None
    """What `python -m eval score` wrote of it."""
    episodes: dict[str, Path] = {}
    """Folders of `python -m eval rollout`, by split."""
    seconds: float | None = None
    """What it took, from its start to its last evaluation."""
    started_at: str | None = None


class Environment(Settings):
    """Where and how the experiment ran."""

    date: str
    machine: str
    command: str
    versions: dict[str, str] = {}


class Manifest(Settings):
    """An experiment."""

    name: str
    question: str = ""
    primary: Comparison | None = None
    secondary: list[Comparison] = []
    """The other comparisons; their p-values are corrected together (Holm)."""
    arms: dict[str, str] = {}
    """What each arm is, in the order of tables."""
    roles: dict[str, str] = {}
    """Cells that are no arm, by what they are: `expert`, `generalist`, `base`."""
    gate: list[GateCheck] = []
    cells: list[Cell]
    environment: Environment | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> "Manifest":
        names = [cell.name for cell in self.cells]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two cells have the name {twice[0]!r}; rename one")
        given = [(f"the cell {cell.name}", cell.arm, self.arms) for cell in self.cells if cell.arm is not None]
        for compared in ([self.primary] if self.primary else []) + self.secondary:
            given += [(f"a comparison on {compared.split}", arm, self.arms) for arm in compared.arms]
        given += [(f"the role {role}", cell, dict.fromkeys(names, "")) for role, cell in self.roles.items()]
        for where, name, known in given:
            if name not in known:
                raise ValueError(f"{where} names {name!r}, expected one of: {', '.join(known)}")
        return self

    def title_of(self, cell: Cell) -> str:
        """What tables call a cell: its arm, its role, or its name."""
        role = next((role for role, name in self.roles.items() if name == cell.name), None)
        return cell.arm or role or cell.name


def read_manifest(file: Path) -> Manifest:
    """The manifest in `file`. Raises UserError that names each field in error."""
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"can't read {file}: {error.strerror}; give the folder of an experiment") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'as a whole'}: {each['msg']}" for each in error.errors()
        )
        raise UserError(f"{file} is no manifest of an experiment ({problems}); run the experiment again") from None
