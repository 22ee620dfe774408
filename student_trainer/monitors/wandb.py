"""Weights & Biases: one run there for each run folder. WANDB_API_KEY, WANDB_PROJECT and its other variables hold."""

import os
from collections.abc import Mapping
from hashlib import sha256

import wandb

from student_trainer.settings import TrainSettings

STEP = "progress/step"


class WeightsAndBiases:
    """Logs against the run's own steps: those that are taken again after a resumption are drawn over the first."""

    def __init__(self, run: wandb.Run) -> None:
        self._run = run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({**metrics, STEP: step})

    def close(self) -> None:
        self._run.finish()


def start(settings: TrainSettings, step: int) -> WeightsAndBiases:
    """Begin the run, or go on with that of the same folder."""
    folder = settings.run_folder
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "toolagent-kd"),
        name=folder.name,
        id=sha256(str(folder).encode()).hexdigest()[:16],
        resume="allow",
        dir=folder,
        config=settings.model_dump(mode="json"),
        settings=wandb.Settings(console="off"),
    )
    run.define_metric("*", step_metric=STEP)
    return WeightsAndBiases(run)
