"""What becomes of a run when its workers fail: Ray Train's controller starts them again unless this object objects.

Ray restarts without limit; `Recovery` raises in the controller, which ends the run, for a mistake of the user's, after
too many failures without a step further, and when a stop was asked for while no worker ran. New workers take over the
newest checkpoint by themselves (`loop.py`).
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from common.run_folder import RunFolder
from student_trainer.persistence.run_folder import newest_step, write_log
from student_trainer.persistence.storage import open_storage
from student_trainer.ray_train.compat import (
    ControllerCallback,
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    TrainControllerState,
    TrainingFailedError,
    TrainRunContext,
    WorkerGroup,
    WorkerGroupCallback,
    WorkerGroupContext,
    WorkerGroupError,
    any_runs,
    is_death,
    waits_for_room,
)

log = logging.getLogger(__name__)


RESIZING = "the number of workers changes"
"""What the request to stop says when the run goes on with other workers."""
SAVE_WITHIN_S = 120.0
LOOK_EVERY_S = 0.2
"""Between two looks at workers or for a stop, which announce nothing."""
SAY_AFTER_S = 15.0
"""How long an elastic run has too little room before that is said."""
ROOM_AGAIN = "there is room again"


class StoppedBeforeWork(Exception):
    """A stop was asked for while the run waited for workers."""


class Recovery(ControllerCallback, WorkerGroupCallback):
    """Judges each failure of the workers of one run, and says in the run's log what happens."""

    def __init__(self, run_folder: Path, checkpoint_storage: str | None, max_failures: int) -> None:
        self._run_folder, self._checkpoint_storage, self._max_failures = run_folder, checkpoint_storage, max_failures
        self._failures, self._furthest, self._news = 0, 0, ""
        self._group: WorkerGroup | None = None
        self._since = time.monotonic()

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        write_log(self._run_folder)
        self._furthest = newest_step(self._run_folder)

    def before_worker_group_start(self, worker_group_context: WorkerGroupContext) -> None:
        if RunFolder(self._run_folder).stop.exists():
            raise StoppedBeforeWork

    def after_worker_group_training_start(self, worker_group: WorkerGroup) -> None:
        if self._news:
            number = len(worker_group)
            workers = f"{number} worker{'s' if number > 1 else ''}"
            log.warning("%s; going on from %s with %s", self._news, self._newest_checkpoint(), workers)
        self._news, self._group = "", worker_group

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """Raise what ends the run, which Ray Train gives to the driver as a ControllerError's `controller_failure`."""
        if current_state is previous_state:
            if isinstance(current_state, InitializingState | RestartingState | ReschedulingState):
                self.wait()
            return
        self._since = time.monotonic()
        if isinstance(current_state, RestartingState | ReschedulingState):
            self.judge(current_state.training_failed_error)
        elif isinstance(current_state, ResizingState):
            self._news = "the nodes of the cluster changed"
            self._let_workers_save()

    def wait(self) -> None:
        """Look for a stop while an elastic run has fewer nodes than it needs: Ray asks again, and says nothing.

        Raises StoppedBeforeWork.
        """
        if RunFolder(self._run_folder).stop.exists():
            raise StoppedBeforeWork
        if time.monotonic() - self._since > SAY_AFTER_S:
            self._say_that_it_waits()
        time.sleep(LOOK_EVERY_S)  # Ray's controller asks again at once, and would spin

    def judge(self, failure: TrainingFailedError) -> None:
        """Return when the workers should start again. Raises `failure`, or the user's own mistake in it, when not."""
        causes = failure.worker_failures if isinstance(failure, WorkerGroupError) else {}
        for cause in causes.values():
            if isinstance(cause, UserError):
                raise cause
        if waits_for_room(failure):
            self._say_that_it_waits()
            return
        step = newest_step(self._run_folder)
        self._failures = 1 if step > self._furthest else self._failures + 1
        self._furthest = max(step, self._furthest)
        if self._failures > self._max_failures:
            raise failure
        self._news = describe(causes)

    def _say_that_it_waits(self) -> None:
        if self._news != ROOM_AGAIN:
            why = f"{self._news}; " if self._news else ""
            log.warning("%swaiting for room in the cluster for the workers", why)
            self._news = ROOM_AGAIN

    def _newest_checkpoint(self) -> str:
        try:
            newest = open_storage(self._run_folder, self._checkpoint_storage).latest()
        except (OSError, UserError):
            return "the newest checkpoint"  # the workers, who need it, say what is wrong with it
        return newest.strip().replace("-", " ") if newest else "the start"

    def _let_workers_save(self) -> None:
        """Stop the running workers as `ray job stop` does, so that those that follow lose no step."""
        stop = RunFolder(self._run_folder).stop
        if stop.exists():
            return
        stop.write_text(RESIZING)
        written = stop.stat().st_mtime_ns
        deadline = time.monotonic() + SAVE_WITHIN_S
        while self._group and any_runs(self._group) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)  # workers of another process can only be asked
        if stop.stat().st_mtime_ns == written:  # else a stop was asked for meanwhile, perhaps by `touch`
            stop.unlink()


def describe(causes: Mapping[int, Exception]) -> str:
    """Which workers failed of what, in one line: of dead processes if there are some, as others fail by their death."""
    dead = {rank: cause for rank, cause in causes.items() if is_death(cause)}
    if dead:
        return f"{_workers(dead)} died (killed, crashed, or its node was lost)"
    if not causes:
        return "workers died while they started"
    first = " ".join(str(next(iter(causes.values()))).split())[:200]
    return f"{_workers(causes)} failed ({type(next(iter(causes.values()))).__name__}: {first})"


def _workers(causes: Mapping[int, Exception]) -> str:
    return f"worker{'s' if len(causes) > 1 else ''} {', '.join(map(str, sorted(causes)))}"
