"""What ends a run whose workers failed, what starts them again, and how signals reach it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.controller.state import ResizingState, RestartingState, RunningState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from common.errors import UserError
from common.run_folder import RunFolder
from common.settings import validate
from student_trainer.persistence.run_folder import append_metrics
from student_trainer.ray_train import failure_policy, signals
from student_trainer.ray_train.failure_policy import Recovery, StoppedBeforeWork, describe
from student_trainer.ray_train.launch import meeting_s
from student_trainer.ray_train.signals import Signals
from student_trainer.settings import WorkerSettings
from tests.unit.student_trainer.stand_in import make_settings

DEATH = WorkerHealthCheckFailedError("A worker health check failed.", RayActorError())


def failed(*causes: Exception) -> WorkerGroupError:
    return WorkerGroupError("some workers failed", dict(enumerate(causes)))


def test_only_failures_without_a_step_further_count(tmp_path: Path):
    watcher = Recovery(tmp_path, None, max_failures=2)
    for step in (1, 2, 3):
        append_metrics(tmp_path, {"progress/step": step})
        watcher.judge(failed(DEATH))
        watcher.judge(failed(DEATH, RuntimeError("connection closed by peer")))
    watcher.judge(ControllerError(WorkerGroupStartupTimeoutError(2)))  # a lost node may come back
    with pytest.raises(WorkerGroupError):
        watcher.judge(failed(DEATH))


def test_a_run_that_waits_for_room_says_why_once_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(failure_policy, "SAY_AFTER_S", 0)
    waiting, watcher = RestartingState(failed(DEATH)), Recovery(tmp_path, None, max_failures=2)
    watcher.after_controller_state_update(RunningState(), waiting)
    watcher.judge(ControllerError(WorkerGroupStartupTimeoutError(2)))
    watcher.after_controller_state_update(waiting, waiting)
    assert caplog.messages == [f"{describe({0: DEATH})}; waiting for room in the cluster for the workers"]
    RunFolder(tmp_path).stop.touch()
    with pytest.raises(StoppedBeforeWork):
        watcher.after_controller_state_update(waiting, waiting)


@pytest.mark.parametrize("asked", [True, False])
def test_workers_that_change_save_first_and_a_stop_asked_for_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
):
    stop, watcher = RunFolder(tmp_path).stop, Recovery(tmp_path, None, max_failures=2)

    def saved(group: object) -> bool:
        assert stop.exists()
        if asked:
            os.utime(stop, (1, 1))  # as `touch` does, whose own time may be the same within a tick of the clock
        return False

    monkeypatch.setattr(failure_policy, "any_runs", saved)
    group = MagicMock(WorkerGroup)
    group.__len__.return_value = 1
    watcher.after_worker_group_training_start(group)
    watcher.after_controller_state_update(RunningState(), ResizingState(ResizeDecision(1, {"CPU": 1})))
    assert stop.exists() == asked


def test_the_users_mistake_ends_the_run_whoever_failed_with_it(tmp_path: Path):
    with pytest.raises(UserError, match="no such model"):
        Recovery(tmp_path, None, max_failures=9).judge(
            failed(RuntimeError("connection closed"), UserError("no such model"))
        )


def test_failures_are_described_by_their_cause():
    collateral = RuntimeError("Connection closed\nby peer")
    assert describe({1: DEATH, 0: collateral}) == "worker 1 died (killed, crashed, or its node was lost)"
    assert describe({0: collateral, 2: collateral}) == "workers 0, 2 failed (RuntimeError: Connection closed by peer)"
    assert describe({}) == "workers died while they started"


def test_a_number_of_workers_or_a_range():
    assert (WorkerSettings(count=3).fewest, WorkerSettings(count=3).most) == (3, 3)
    elastic = validate(WorkerSettings, {"count": [1, 4]}, "test")
    assert (elastic.fewest, elastic.most) == (1, 4)
    for wrong in ([4, 1], [0, 1], 0):
        with pytest.raises(UserError, match="count"):
            validate(WorkerSettings, {"count": wrong}, "test")


def test_workers_wait_longer_for_each_other_than_for_the_teacher(tmp_path: Path):
    teacher = {"url": "http://t", "model": "m", "patience_s": 7200}
    assert meeting_s(make_settings(tmp_path, teacher=teacher)) > 7200


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Signals]:
    """Signals to a run in tmp_path; afterwards they are answered as before."""
    monkeypatch.setattr(signals, "INSIST_EVERY_S", 0.02)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Signals(tmp_path) as answers:
            yield answers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_first_sigterm_asks_for_a_stop_and_the_second_ends_the_run(opened: Signals, tmp_path: Path):
    signal.raise_signal(signal.SIGTERM)
    assert RunFolder(tmp_path).stop.exists()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_was_swallowed_comes_again(opened: Signals):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(60)  # until the interrupt comes again
