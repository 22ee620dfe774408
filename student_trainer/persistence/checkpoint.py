"""Checkpoints: what a run goes on from, whole or not there.

Files hold whole tensors, whatever wrote them: one worker, or any number with DDP or FSDP; and any of these goes on
from them, to the bit. To save, rank 0's host memory takes what learns three times: weights and AdamW's two means, in
float32 12 bytes each. To load, each worker maps the files and copies its part.

    step-200/
      adapter_config.json, adapter_model.safetensors    the adapter, in PEFT's own format; a student without one has
                                                        its weights in model.safetensors, in float32
      optimizer.pt                                      optimizer and schedule, tensors and numbers only
      state.json                                        step, epoch, next index, rows of data.train, validation loss,
                                                        format score, versions
      manifest.json                                     sha256 of each file above

Random states are not stored: those of a step follow from (seed, step, rank), see `process_group.seed_step`. Nor is the
teacher's revision: that of the whole run is in its `teacher.json`.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from common.errors import UserError
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.sharding import gathered, shard_like
from student_trainer.learning.step import Learner
from student_trainer.learning.student import Student
from student_trainer.persistence.storage import MANIFEST

FORMAT_VERSION = 4
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class State:
    """Where the run stands: `step` steps are done, and `index` of `epoch`, of `rows`, comes next."""

    step: int
    epoch: int
    index: int
    rows: int
    validation_loss: float | None = field(default=None, compare=False)
    """Measured after `step`, if it was."""
    format_score: float | None = field(default=None, compare=False)
    """Of what the student wrote after `step`, if the watchdog looked (`watchdog/rules.py`)."""


@dataclass(frozen=True)
class Snapshot:
    """What rank 0 writes into a checkpoint: whole copies in host memory, which training doesn't touch any more."""

    state: State
    student: Student
    weights: dict[str, Tensor]
    states: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the checkpoint's files into `folder`, the manifest last; OSError where that fails."""
        try:
            self.student.save(folder, self.weights)
        except SafetensorError as error:
            raise OSError(str(error)) from None
        _save(self.states, folder / "optimizer.pt")
        about = {"format_version": FORMAT_VERSION, **asdict(self.state), "versions": _versions()}
        (folder / "state.json").write_text(json.dumps(about, indent=2))
        hashes = {file.name: hash_of(file) for file in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(hashes, indent=2))

    @property
    def nbytes(self) -> int:
        """About the checkpoint's size."""
        return _nbytes(self.weights) + _nbytes(self.states)


def snapshot(learner: Learner, state: State, world: ProcessGroup) -> Snapshot:
    """What the checkpoint of `state` holds. Every worker must call it; it is whole on rank 0 alone."""
    states = {"optimizer": learner.optimizer.state_dict(), "schedule": learner.schedule.state_dict()}
    weights = gathered(learner.student.weights(), world)
    return Snapshot(state, learner.student, weights, gathered(states, world))


def load(checkpoint: Path, learner: Learner) -> State:
    """Put `learner` into the state of an intact checkpoint.

    Raises UserError when another version of the format wrote it, or when it doesn't fit this student.
    """
    about = json.loads((checkpoint / "state.json").read_text())
    if about["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{checkpoint} has format version {about['format_version']}, this trainer knows {FORMAT_VERSION}; "
            "resume with the release that wrote it, or choose a new run_folder"
        )
    learner.student.load(checkpoint)
    states = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu", mmap=True)
    learner.optimizer.load_state_dict(_own_part(states["optimizer"], learner.optimizer))
    learner.schedule.load_state_dict(states["schedule"])
    return State(**{each.name: about[each.name] for each in fields(State)})


def _own_part(states: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's whole `states`, sharded as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    each = {index: _shard(state, parameters[index]) for index, state in states["state"].items()}
    return states | {"state": each}


def _shard(state: Any, parameter: Tensor) -> Any:
    if isinstance(state, dict):
        return {name: _shard(value, parameter) for name, value in state.items()}
    return shard_like(state, parameter) if isinstance(state, Tensor) else state


def _save(states: dict[str, Any], file: Path) -> None:
    try:
        torch.save(states, file)
    except RuntimeError as error:  # torch's zip writer says so where the disk is full
        raise OSError(str(error)) from None


def _nbytes(state: Any) -> int:
    if isinstance(state, dict):
        return sum(map(_nbytes, state.values()))
    return state.nbytes if isinstance(state, Tensor) else 0


def hash_of(file: Path) -> str:
    """Its SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
