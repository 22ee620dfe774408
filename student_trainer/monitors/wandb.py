"""Weights & Biases: one run there for each run folder. WANDB_API_KEY, WANDB_PROJECT and its other variables hold."""

import os
from collections.abc import Mapping
from secrets import token_hex

import wandb

from common.files import write_atomically
from common.run_folder import RunFolder
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
        id=_run_id(settings.files),
        resume="allow",
        dir=folder,
        config=settings.model_dump(mode="json"),
        settings=wandb.Settings(console="off"),
    )
    run.define_metric("*", step_metric=STEP)
    return WeightsAndBiases(run)


def _run_id(files: RunFolder) -> str:
    """The id that the folder keeps; a new one where it has none, so that no two folders share a run."""
    if not files.wandb_id.exists():
        write_atomically(files.wandb_id, token_hex(8))
    return files.wandb_id.read_text()
