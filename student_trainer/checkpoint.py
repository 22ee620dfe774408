"""Checkpoints: what a run goes on from, whole or not there.

Files hold whole tensors, whatever wrote them: one worker, or any number with DDP or FSDP; and any of these goes on
from them, to the bit. To save, rank 0's host memory takes what learns three times: weights and AdamW's two means, in
float32 12 bytes each. To load, each worker maps the files and copies its part.

    step-200/
      adapter_config.json, adapter_model.safetensors    the adapter, in PEFT's own format; a student without one has
                                                        its weights in model.safetensors, in float32
      optimizer.pt                                      optimizer and schedule, tensors and numbers only
      state.json                                        step, epoch, next position, rows of data.train, validation loss,
                                                        the teacher's revision, versions
      manifest.json                                     sha256 of each file above

On load every file is checked against the manifest; a checkpoint that fails is passed over for the one before, and that
is said. Random states are not stored: those of a step follow from (seed, step, rank), see `world.seed_step`.
"""

import hashlib
import json
import logging
import platform
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from common.errors import UserError
from student_trainer.agreement import agree
from student_trainer.sharding import gathered, shard_like
from student_trainer.step import Learner
from student_trainer.storage import MANIFEST, STEP, Storage
from student_trainer.student import Student
from student_trainer.world import World

log = logging.getLogger(__name__)
FORMAT_VERSION = 3
READABLE_VERSIONS = (2, 3)
"""2 lacks the validation loss."""
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class State:
    """Where the run stands: `step` steps are done, and `position` of `epoch`, of `rows` positions, comes next."""

    step: int
    epoch: int
    position: int
    rows: int
    validation_loss: float | None = field(default=None, compare=False)
    """Measured after `step`, if it was."""


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
        hashes = {file.name: _hash(file) for file in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(hashes, indent=2))

    @property
    def nbytes(self) -> int:
        """About the checkpoint's size."""
        return _nbytes(self.weights) + _nbytes(self.states)


def snapshot(learner: Learner, state: State, world: World) -> Snapshot:
    """What the checkpoint of `state` holds. Every worker must call it; it is whole on rank 0 alone."""
    states = {"optimizer": learner.optimizer.state_dict(), "schedule": learner.schedule.state_dict()}
    weights = gathered(learner.student.weights(), world)
    return Snapshot(state, learner.student, weights, gathered(states, world))


def resume(storage: Storage, learner: Learner, world: World) -> State | None:
    """Put `learner` into the state of the newest intact checkpoint; None where there is no checkpoint at all.

    Every worker must call it; rank 0 chooses. Those passed over are named in the log. Raises UserError on all of them
    when there are some, all damaged, when another version of the format wrote it, or when it doesn't fit this student.
    """
    with ExitStack() as stack:
        newest, steps = agree(world, lambda: _newest_intact(storage, stack) if world.leads else None, _step_of)
        if not steps:
            return None
        folder, _ = agree(world, lambda: newest[1] if newest else _copied(storage, steps[0], stack), lambda _: [])
        state, _ = agree(world, lambda: load(folder, learner), lambda _: [])
        if world.leads:
            log.info("resuming after step %d from %s", state.step, storage)
    return state


def _newest_intact(storage: Storage, stack: ExitStack) -> tuple[int, Path] | None:
    """The newest checkpoint whose files are all as written, open as long as `stack` is."""
    steps, problem = _candidates(storage), ""
    for step in steps:
        try:
            folder = stack.enter_context(storage.opened(step))
            problem = find_damage(folder) or ""
        except OSError as error:
            problem = str(error)
        if not problem:
            return step, folder
        log.warning(
            "checkpoint %s%d in %s is damaged (%s); falling back to the one before", STEP, step, storage, problem
        )
    if steps:
        raise UserError(
            f"no checkpoint in {storage} is intact ({len(steps)} damaged, the last: {problem}); restore one, or choose "
            "a new run_folder"
        )
    return None


def _candidates(storage: Storage) -> list[int]:
    """Steps whose checkpoints agree with the ledger, newest first: none later than the one that `latest` names."""
    steps, named = storage.steps(), storage.latest()
    if named is None:  # made by an earlier release, or ended before its first one was whole
        return steps
    newest = [step for step in steps if f"{STEP}{step}" == named.strip()]
    if not newest:
        log.warning("%s/latest names %r, which is not there; taking the newest intact checkpoint", storage, named)
        return steps
    return [step for step in steps if step <= newest[0]]


def _step_of(newest: tuple[int, Path] | None) -> list[int]:
    return [newest[0]] if newest else []


def _copied(storage: Storage, step: int, stack: ExitStack) -> Path:
    """Files that rank 0 found intact, for another worker, whose copy of them is checked too."""
    try:
        folder = stack.enter_context(storage.opened(step))
        problem = None if storage.is_local else find_damage(folder)
    except OSError as error:
        problem = str(error)
    if problem:
        raise UserError(f"can't read the checkpoint of step {step} in {storage}: {problem}; see to the storage, resume")
    return folder


def load(checkpoint: Path, learner: Learner) -> State:
    """Put `learner` into the state of an intact checkpoint.

    Raises UserError when another version of the format wrote it, or when it doesn't fit this student.
    """
    about = json.loads((checkpoint / "state.json").read_text())
    if about["format_version"] not in READABLE_VERSIONS:
        raise UserError(
            f"{checkpoint} has format version {about['format_version']}, this trainer knows {READABLE_VERSIONS}; "
            "resume with the release that wrote it, or choose a new run_folder"
        )
    learner.student.load(checkpoint)
    states = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu", mmap=True)
    learner.optimizer.load_state_dict(_own_part(states["optimizer"], learner.optimizer))
    learner.schedule.load_state_dict(states["schedule"])
    return State(**{each.name: about[each.name] for each in fields(State) if each.name in about})


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, if anything is."""
    try:
        hashes = json.loads((checkpoint / MANIFEST).read_text())
        broken = [name for name, expected in hashes.items() if _hash(checkpoint / name) != expected]
    except (OSError, ValueError) as error:
        return str(error)
    return f"hash of {', '.join(broken)} differs" if broken else None


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


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
