"""Start the workers on Ray Train, show their progress, and turn their failures into one line."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import ray
from ray.train.torch import TorchConfig, get_device
from ray.train.v2.api.config import (  # ray.train names these too, typed as v1
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
)

from common.errors import UserError
from common.toolbench.rows import shards
from student_trainer.data.plan import total_steps
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.persistence import run_folder
from student_trainer.persistence.summary import is_finished
from student_trainer.ray_train import compat
from student_trainer.ray_train.failure_policy import Recovery, StoppedBeforeWork
from student_trainer.ray_train.progress import ProgressLine
from student_trainer.ray_train.signals import Signals
from student_trainer.settings import TrainSettings, WorkerSettings

RAY_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker is noticed, and how long a report waits
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # how long an elastic run counts on a node that has gone
}
"""Ray's variables where they aren't set, for the processes of this run."""
POOL_SHARE = 0.001
"""How much of the pool's marker a worker takes: the marker says where, not how many."""
MEETING_S = 1800
"""How long workers wait for one of them that neither comes nor dies, beside what it may wait for its teacher."""

log = logging.getLogger(__name__)


def launch(settings: TrainSettings) -> bool:
    """Train on the cluster that RAY_ADDRESS names (as it does inside `ray job submit`), or on a Ray of its own.

    Returns whether the run is finished; if not, it was asked to stop. Raises UserError for what the user can mend:
    settings that changed, missing resources, a teacher that is down.
    """
    rows = len(PromptStream(settings.data.train, settings.shuffle_seed))
    steps = total_steps(rows, settings.batch_size, settings.epochs, settings.max_steps)
    if settings.data.validation:
        shards(settings.data.validation)  # raises where there are none
    run_folder.prepare(settings)
    source = "data" if settings.mode == "sft" else "teacher"
    folder = settings.run_folder
    with _connected(settings.workers), ProgressLine(folder, steps, source), Signals(folder) as signals:
        check_resources(settings.workers)
        _fit(settings, signals)
    return is_finished(folder, settings.student)


def meeting_s(settings: TrainSettings) -> int:
    """Seconds that workers wait for one of them: longer than one that alone has no teacher may wait for it."""
    teacher = settings.teacher
    return MEETING_S + (ceil(teacher.patience_s + teacher.attempts * teacher.timeout_s) if teacher else 0)


@contextmanager
def _connected(workers: WorkerSettings) -> Iterator[None]:
    """A connection to Ray; closing it, on Ctrl-C too, ends the workers. What they say comes through the run's log."""
    for name, value in RAY_DEFAULTS.items():
        os.environ.setdefault(name, value)
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError:
            raise UserError(
                f"no Ray cluster answers at RAY_ADDRESS={address}; start it, correct the address, or unset RAY_ADDRESS "
                "to train on a Ray of its own"
            ) from None
    else:
        pool = {workers.pool: 1.0} if workers.pool else {}
        ray.init(
            address="local",
            include_dashboard=False,
            resources=pool,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(workers: WorkerSettings) -> None:
    """Refuse what the cluster can never give: Ray would wait for it for ever."""
    present = ray.cluster_resources()
    for name, each in _resources(workers).items():
        if present.get(name, 0) < each * workers.fewest:
            raise UserError(
                f"{workers.fewest} workers need {each * workers.fewest:g} of the resource {name}, the cluster has "
                f"{present.get(name, 0):g}; change the section workers, or add nodes to the cluster"
            )


def _resources(workers: WorkerSettings) -> dict[str, float]:
    """What one worker takes."""
    wanted = {"CPU": workers.cpus, "GPU": workers.gpus}
    if workers.pool:
        wanted[workers.pool] = POOL_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def _trainer(settings: TrainSettings, signals: Signals) -> compat.Trainer:
    workers = settings.workers
    callbacks: list[Any] = [Recovery(settings.run_folder, settings.checkpoint_storage, workers.max_failures)]
    return compat.Trainer(
        signals.answer_ctrl_c,
        _work,
        train_loop_config=settings.model_dump(mode="json"),
        torch_config=TorchConfig(timeout_s=meeting_s(settings)),
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=_resources(workers)
        ),
        run_config=RunConfig(
            name=".ray_train",
            storage_path=str(settings.run_folder),
            failure_config=FailureConfig(max_failures=-1),
            callbacks=callbacks,  # typed for observers alone
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
    )


def _fit(settings: TrainSettings, signals: Signals) -> None:
    """Run Ray Train in this thread: one that still asked Ray after `ray.shutdown()` would end the whole process."""
    if moved := compat.moved():
        log.warning(
            "another Ray than this was tested with; workers that fail may not start again: %s", "; ".join(moved)
        )
    try:
        _trainer(settings, signals).fit()
    except compat.ControllerError as error:
        failure = error.controller_failure
        if not isinstance(failure, StoppedBeforeWork):
            raise failure from None


def _work(values: dict[str, Any]) -> None:
    """One worker's part, in a process of its own."""
    from student_trainer.distributed.process_group import ProcessGroup
    from student_trainer.loop import train

    context = ray.train.get_context()
    world = ProcessGroup(context.get_world_rank(), context.get_world_size(), get_device())
    try:
        train(TrainSettings.model_validate(values), world)
    except UserError as error:
        raise UserError(str(error)) from None  # a subclass may not survive the way to the driver, which only shows it
