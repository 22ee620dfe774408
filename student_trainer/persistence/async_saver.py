"""Writes checkpoints while training goes on, one at a time, and keeps the newest and the best of them."""

import logging
import shutil
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from common import files
from common.errors import UserError
from student_trainer.distributed.consensus import StopAsked
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import Learner
from student_trainer.persistence import ledger
from student_trainer.persistence.checkpoint import Snapshot, State, snapshot
from student_trainer.persistence.retention import prune
from student_trainer.persistence.storage import Storage
from student_trainer.settings import TrainSettings

log = logging.getLogger(__name__)


class Saver:
    """A context in which rank 0 writes checkpoints in a thread of its own; leaving it waits for the last.

    An error of the thread, a UserError, is raised by the next `check`, or on leaving. `saved` is the step of the newest
    checkpoint, begun or resumed from.
    """

    def __init__(self, settings: TrainSettings, storage: Storage, world: ProcessGroup, saved: int) -> None:
        self._settings, self._storage, self._world, self.saved = settings, storage, world, saved
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()
        lost = self._writing.exception() if self._writing else None
        if lost and kind in (None, StopAsked):
            raise lost
        if lost and lost is not error:
            log.error("%s", lost)

    def check(self) -> None:
        """Raise the error of a write that has ended."""
        if self._writing and self._writing.done():
            self._writing.result()

    def take(self, learner: Learner, state: State) -> tuple[Snapshot, float]:
        """A snapshot to `start`, once the one before is written, and the seconds that took. All workers call it."""
        began = time.perf_counter()
        if self._writing:
            wait([self._writing])
        return snapshot(learner, state, self._world), time.perf_counter() - began

    def start(self, taken: Snapshot) -> None:
        """Write `taken` in the background, on rank 0; what the run wrote of its steps stands on the disk before it.

        Nothing is written after a write that failed: the next `check` says so, where all workers hear of it.
        """
        self.saved = taken.state.step
        if self._world.leads and not (self._writing and self._writing.exception()):
            self._writing = self._thread.submit(self._write, taken)

    def _write(self, taken: Snapshot) -> None:
        try:
            ledger.flush(self._settings.run_folder)
            files.flush(self._settings.files.metrics)
            files.flush(self._settings.files.watchdog)
            self._storage.add(taken.state.step, taken.write)
        except OSError as error:
            raise UserError(self._what_failed(taken, error)) from None
        try:
            prune(self._storage, taken.state.step, self._settings.keep_checkpoints, self._settings.keep_best)
        except OSError as error:
            log.warning("can't remove old checkpoints in %s, trying again after the next: %s", self._storage, error)

    def _what_failed(self, taken: Snapshot, error: OSError) -> str:
        drafts = self._settings.run_folder if self._storage.is_local else Path(tempfile.gettempdir())
        free = shutil.disk_usage(drafts).free
        return (
            f"can't write the checkpoint after step {taken.state.step} to {self._storage}: {error}; it takes about "
            f"{taken.nbytes / 1e6:.1f} MB, {free / 1e6:.1f} MB are free in {drafts}; those before it are as they "
            "were: free space and resume"
        )
