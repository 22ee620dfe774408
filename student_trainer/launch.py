"""Start the workers on Ray Train, show their progress, and turn their failures into one line."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import ray
from ray.train import WorkerGroupError
from ray.train.torch import get_device
from ray.train.v2.api.config import LoggingConfig, RunConfig, ScalingConfig  # ray.train names these too, typed as v1
from ray.train.v2.torch.torch_trainer import TorchTrainer

from common.errors import UserError
from common.toolbench.rows import shards
from student_trainer import run_folder
from student_trainer.examples import total_steps
from student_trainer.progress import ProgressLine
from student_trainer.settings import TrainSettings, WorkerSettings
from student_trainer.stream import PromptStream

POOL_SHARE = 0.001
"""How much of the pool's marker a worker takes: the marker says where, not how many."""


def launch(settings: TrainSettings) -> None:
    """Train on the cluster that RAY_ADDRESS names (as it does inside `ray job submit`), or on a Ray of its own.

    Raises UserError for what the user can mend: settings that changed, missing resources, a teacher that is down.
    """
    rows = len(PromptStream(settings.data.train, settings.shuffle_seed))
    steps = total_steps(rows, settings.batch_size, settings.epochs, settings.max_steps)
    if settings.data.validation:
        shards(settings.data.validation)  # raises where there are none
    run_folder.prepare(settings)
    source = "data" if settings.mode == "sft" else "teacher"
    with _connected(settings.workers), ProgressLine(settings.run_folder, steps, source):
        check_resources(settings.workers)
        _fit(settings)


@contextmanager
def _connected(workers: WorkerSettings) -> Iterator[None]:
    """A connection to Ray; closing it, on Ctrl-C too, ends the workers. What they say comes through the run's log."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `ray job stop` ends a run as Ctrl-C does
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(workers: WorkerSettings) -> None:
    """Refuse what the cluster can never give: Ray would wait for it for ever."""
    present = ray.cluster_resources()
    for name, each in _resources(workers).items():
        if present.get(name, 0) < each * workers.count:
            raise UserError(
                f"{workers.count} workers need {each * workers.count:g} of the resource {name}, the cluster has "
                f"{present.get(name, 0):g}; change the section workers, or add nodes to the cluster"
            )


def _resources(workers: WorkerSettings) -> dict[str, float]:
    """What one worker takes."""
    wanted = {"CPU": workers.cpus, "GPU": workers.gpus}
    if workers.pool:
        wanted[workers.pool] = POOL_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def _fit(settings: TrainSettings) -> None:
    """Run Ray Train in this thread: one that still asked Ray after `ray.shutdown()` would end the whole process."""
    workers = settings.workers
    trainer = TorchTrainer(
        _work,
        train_loop_config=settings.model_dump(mode="json"),
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=_resources(workers)
        ),
        run_config=RunConfig(
            name=".ray_train", storage_path=str(settings.run_folder), logging_config=LoggingConfig(log_level="CRITICAL")
        ),
    )
    try:
        trainer.fit()
    except SystemExit:  # Ray Train's own answer to Ctrl-C, after it has stopped the workers
        raise KeyboardInterrupt from None
    except WorkerGroupError as error:
        _raise_mendable(error)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray Train's would ask a controller that has gone


def _work(values: dict[str, Any]) -> None:
    """One worker's part, in a process of its own."""
    from student_trainer.loop import train
    from student_trainer.world import World

    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), get_device())
    train(TrainSettings.model_validate(values), world)


def _raise_mendable(error: WorkerGroupError) -> NoReturn:
    """Raise the user's own mistake among the workers' failures, if there is one, else `error`."""
    for failure in error.worker_failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError):
            raise UserError(str(cause)) from None
    raise error
