"""What of Ray Train's private parts a run leans on, all of it here, so that another Ray is noticed.

Ray has no public way to say no to a restart, to hear of workers that come and go, or to leave Ctrl-C to the caller.
"""

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    RunningState,
    TrainControllerState,
)
from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup, WorkerGroupContext, WorkerStatus
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

__all__ = [
    "ControllerCallback", "ControllerError", "InitializingState", "ReschedulingState", "ResizingState",
    "RestartingState", "RunningState", "TrainControllerState", "TrainRunContext", "TrainingFailedError",
    "WorkerGroup", "WorkerGroupCallback", "WorkerGroupContext", "WorkerGroupError",
]  # fmt: skip

TESTED_VERSION = "2.60.0"
METHODS: dict[tuple[type, str], list[str]] = {
    (TorchTrainer, "_create_default_callbacks"): ["self"],
    (TorchTrainer, "_register_sigint_handler"): ["self", "controller"],
    (ControllerCallback, "after_controller_start"): ["self", "train_run_context"],
    (ControllerCallback, "after_controller_state_update"): ["self", "previous_state", "current_state"],
    (WorkerGroupCallback, "before_worker_group_start"): ["self", "worker_group_context"],
    (WorkerGroupCallback, "after_worker_group_training_start"): ["self", "worker_group"],
    (WorkerGroup, "get_workers"): ["self"],
    (WorkerGroup, "__len__"): ["self"],
    (ReschedulingState, "__init__"): ["self", "training_failed_error"],
    (RestartingState, "__init__"): ["self", "training_failed_error"],
    (WorkerHealthCheckFailedError, "__init__"): ["self", "message", "failure"],
    (ControllerError, "__init__"): ["self", "controller_failure"],
    (WorkerGroupError, "__init__"): ["self", "error_message", "worker_failures"],
}
"""Parameters of the methods that are replaced or called, and of what is built with the values that are read."""
FIELDS: dict[type, set[str]] = {Worker: {"actor"}, WorkerStatus: {"running"}}
"""Fields of the dataclasses that are read."""


def moved(version: str = ray.__version__) -> list[str]:
    """What differs from the Ray that runs were tested with; empty when nothing does."""
    wrong = [] if version == TESTED_VERSION else [f"version {version}, tested with {TESTED_VERSION}"]
    for (owner, name), expected in METHODS.items():
        method = getattr(owner, name, None)
        got = None if method is None else list(signature(method).parameters)
        if got != expected:
            wrong.append(f"{owner.__name__}.{name} takes {got}, expected {expected}")
    for owner, names in FIELDS.items():
        missing = names - {field.name for field in fields(owner)}
        wrong += [f"{owner.__name__} has no {name}" for name in sorted(missing)]
    return wrong


class Trainer(TorchTrainer):
    """Ray Train's own, but Ctrl-C is answered by `answer_ctrl_c`, and what is interrupted leaves nothing behind."""

    def __init__(self, answer_ctrl_c: Callable[[], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._answer_ctrl_c = answer_ctrl_c

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        """All but a cleaner of reservations, which Ray frees with the job: interrupted while it starts, it stays."""
        callbacks: list[RayTrainCallback] = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]

    def _register_sigint_handler(self, controller: Any) -> None:
        self._answer_ctrl_c()


def any_runs(group: WorkerGroup) -> bool:
    """Whether a worker of `group` still trains; one that died doesn't."""
    try:
        statuses: list[WorkerStatus] = ray.get([worker.actor.poll_status.remote() for worker in group.get_workers()])
    except RayActorError:
        return False
    return any(status.running for status in statuses)


def waits_for_room(failure: TrainingFailedError) -> bool:
    """Whether the workers were not started, as the cluster has no room for them."""
    return isinstance(failure, ControllerError) and isinstance(
        failure.controller_failure, WorkerGroupStartupTimeoutError
    )


def is_death(cause: Exception) -> bool:
    """Whether a worker failed as its process is gone."""
    return isinstance(cause, WorkerHealthCheckFailedError) and isinstance(cause.health_check_failure, RayActorError)
