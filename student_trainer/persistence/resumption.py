"""Which checkpoint an interrupted run goes on from, and whether it still is the same run.

Every file is checked against the manifest; a checkpoint that fails is passed over for the one before, and that is said.
"""

import json
import logging
from contextlib import ExitStack
from pathlib import Path

from common.errors import UserError
from student_trainer.distributed.consensus import gather_together, run_together
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import Learner
from student_trainer.persistence import ledger
from student_trainer.persistence.checkpoint import State, hash_of, load
from student_trainer.persistence.run_folder import cut_metrics
from student_trainer.persistence.storage import MANIFEST, STEP, Storage
from student_trainer.settings import TrainSettings

log = logging.getLogger(__name__)


def resume(storage: Storage, learner: Learner, world: ProcessGroup) -> State | None:
    """Put `learner` into the state of the newest intact checkpoint; None where there is no checkpoint at all.

    Every worker must call it; rank 0 chooses. Those passed over are named in the log. Raises UserError on all of them
    when there are some, all damaged, when another version of the format wrote it, or when it doesn't fit this student.
    """
    with ExitStack() as stack:
        newest, steps = gather_together(
            world, lambda: _newest_intact(storage, stack) if world.leads else None, _step_of
        )
        if not steps:
            return None
        folder = run_together(world, lambda: newest[1] if newest else _copied(storage, steps[0], stack))
        state = run_together(world, lambda: load(folder, learner))
        if world.leads:
            log.info("resuming after step %d from %s", state.step, storage)
    return state


def _newest_intact(storage: Storage, stack: ExitStack) -> tuple[int, Path] | None:
    """The newest checkpoint whose files are all as written, open as long as `stack` is."""
    try:
        steps, problem = _candidates(storage), ""
    except OSError as error:
        raise UserError(f"can't read checkpoints in {storage}: {error}; see to the storage and resume") from None
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
    """Steps whose checkpoints agree with the ledger, newest first: none later than the one that `latest` names.

    Raises UserError where it names one, and neither that nor an earlier one is there.
    """
    steps, named = storage.steps(), storage.latest()
    if named is None:  # it ended between the first checkpoint and its name
        return steps
    number = named.strip().removeprefix(STEP)
    if number.isdecimal():
        steps = [step for step in steps if step <= int(number)]
    if not steps:
        raise UserError(
            f"no checkpoint is in {storage}, where latest names {named!r}; restore it, or choose a new run_folder"
        )
    if number != str(steps[0]):
        log.warning("%s/latest names %r, which is not there; taking the newest intact checkpoint", storage, named)
    return steps


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
        raise UserError(f"can't read {STEP}{step} in {storage}: {problem}; see to the storage and resume")
    return folder


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, if anything is."""
    try:
        hashes = json.loads((checkpoint / MANIFEST).read_text())
        broken = [name for name, expected in hashes.items() if hash_of(checkpoint / name) != expected]
    except (OSError, ValueError) as error:
        return str(error)
    return f"hash of {', '.join(broken)} differs" if broken else None


def cut_back(run_folder: Path, storage: Storage, found: State | None) -> None:
    """Drop what the run wrote after the checkpoint `found`, or all of it where there is none.

    Later checkpoints, passed over as damaged, are left behind first: one that can be read again would find its lines
    gone. Raises UserError when files can't be written.
    """
    try:
        if found:
            storage.point_to(found.step)
    except OSError as error:
        raise UserError(f"can't write to {storage}: {error}; free space or mend the storage, and resume") from None
    cut_metrics(run_folder, found.step if found else -1)
    ledger.cut_back(run_folder, found.step if found else 0)


def check_same_data(found: State, expected: State, settings: TrainSettings) -> None:
    """Raise UserError where the checkpoint was made with other rows."""
    if found != expected:
        raise UserError(
            f"the data behind data.train changed: {settings.data.train} has {expected.rows} rows, the checkpoint after "
            f"step {found.step} was made with {found.rows}; restore the data, or choose a new run_folder"
        )
