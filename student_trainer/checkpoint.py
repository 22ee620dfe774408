"""Checkpoints: `checkpoints/step-N/`, whole or not there.

A checkpoint is written into a temporary folder, its manifest of hashes last, and renamed into place. On load every file
is checked against the manifest; a checkpoint that fails is passed over for the one before, and that is said.

Files hold whole tensors, whatever wrote them: one worker, or any number with DDP or FSDP; and any of these goes on
from them, to the bit. To save, rank 0's host memory takes what learns three times: weights and AdamW's two means, in
float32 12 bytes each. To load, each worker maps the files and copies its part.

    step-200/
      adapter_config.json, adapter_model.safetensors    the adapter, in PEFT's own format; a student without one has
                                                        its weights in model.safetensors, in float32
      optimizer.pt                                      optimizer and schedule, tensors and numbers only
      state.json                                        step, epoch, next position, rows of data.train, versions
      manifest.json                                     sha256 of each file above

Random states are not stored: those of a step follow from (seed, step, rank), see `world.seed_step`.
"""

import hashlib
import json
import logging
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from common.errors import UserError
from student_trainer.sharding import gathered, shard_like
from student_trainer.step import Learner
from student_trainer.student import Student
from student_trainer.world import World

log = logging.getLogger(__name__)
FORMAT_VERSION = 2
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class State:
    """Where the run stands: `step` steps are done, and `position` of `epoch`, of `rows` positions, comes next."""

    step: int
    epoch: int
    position: int
    rows: int


def save(folder: Path, learner: Learner, state: State, keep: int, world: World) -> None:
    """Write the checkpoint of `state` to `folder`/step-N and remove all but the newest `keep`.

    Every worker must call it; rank 0 writes. Later ones, damaged and passed over when the run was resumed, are removed
    first; so are drafts that a crash left.
    """
    weights = gathered(learner.student.weights(), world)
    states = {"optimizer": learner.optimizer.state_dict(), "schedule": learner.schedule.state_dict()}
    states = gathered(states, world)
    if world.leads:
        _write(folder, learner.student, weights, states, state)
        for old in _by_age(folder)[keep:]:
            shutil.rmtree(old)


def _write(folder: Path, student: Student, weights: dict[str, Tensor], states: dict[str, Any], state: State) -> None:
    target = folder / f"step-{state.step}"
    draft = folder / f".{target.name}.partial"
    later = [path for path in _by_age(folder) if _step(path) >= state.step]
    for leftover in (*later, *folder.glob(".step-*.partial")):
        shutil.rmtree(leftover)
    draft.mkdir(parents=True)
    student.save(draft, weights)
    torch.save(states, draft / "optimizer.pt")
    about = {"format_version": FORMAT_VERSION, **asdict(state), "versions": _versions()}
    (draft / "state.json").write_text(json.dumps(about, indent=2))
    hashes = {file.name: _hash(file) for file in sorted(draft.iterdir())}
    (draft / "manifest.json").write_text(json.dumps(hashes, indent=2))
    draft.rename(target)


def newest_intact(folder: Path) -> Path | None:
    """The newest checkpoint whose files are all as written; those passed over are named in the log.

    None where there is no checkpoint at all. Raises UserError when there are some, all damaged.
    """
    checkpoints = _by_age(folder)
    for checkpoint in checkpoints:
        problem = _find_damage(checkpoint)
        if problem is None:
            return checkpoint
        log.warning("checkpoint %s is damaged (%s); falling back to the one before", checkpoint, problem)
    if checkpoints:
        raise UserError(
            f"no checkpoint in {folder} is intact ({len(checkpoints)} damaged); restore one, or choose a new run_folder"
        )
    return None


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
    return State(about["step"], about["epoch"], about["position"], about["rows"])


def _own_part(states: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's whole `states`, sharded as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    each = {index: _shard(state, parameters[index]) for index, state in states["state"].items()}
    return states | {"state": each}


def _shard(state: Any, parameter: Tensor) -> Any:
    if isinstance(state, dict):
        return {name: _shard(value, parameter) for name, value in state.items()}
    return shard_like(state, parameter) if isinstance(state, Tensor) else state


def _by_age(folder: Path) -> list[Path]:
    """Checkpoints in `folder`, newest first."""
    return sorted(folder.glob("step-*"), key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _find_damage(checkpoint: Path) -> str | None:
    try:
        hashes = json.loads((checkpoint / "manifest.json").read_text())
        broken = [name for name, expected in hashes.items() if _hash(checkpoint / name) != expected]
    except (OSError, ValueError) as error:
        return str(error)
    return f"hash of {', '.join(broken)} differs" if broken else None


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
