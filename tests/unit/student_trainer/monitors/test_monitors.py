"""Dashboards: each must start; one that fails later costs a warning, and never the run or its own metrics."""

import logging
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from common.errors import UserError
from student_trainer import loop
from student_trainer.loop import train
from student_trainer.monitors.monitor import open_monitors
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import Metrics, read_metrics
from student_trainer.persistence.summary import is_finished
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.students import ALONE, SFT, short_run


def start(settings: TrainSettings) -> None:
    run_folder.prepare(settings)
    train(settings, ALONE, lambda metrics: None)


def numbers(line: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in line.items() if isinstance(value, int | float)}


class StandIn:
    """A monitor, and the module that starts it, which raises `error` from a step on, and when it is closed."""

    def __init__(self, error: Exception | None = None, from_step: int = 0) -> None:
        self.error, self.from_step = error, from_step
        self.told: dict[int, dict[str, float]] = {}
        self.started: list[int] = []
        self.closed = 0

    def start(self, settings: TrainSettings, step: int) -> "StandIn":
        self.started.append(step)
        if self.error and not self.from_step:
            raise self.error
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.told[step] = dict(metrics)
        if self.error and step >= self.from_step:
            raise self.error

    def close(self) -> None:
        self.closed += 1
        if self.error:
            raise self.error


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(monitor: StandIn) -> StandIn:
        monkeypatch.setitem(sys.modules, "student_trainer.monitors.wandb", monitor)
        return monitor

    return put


def scalars(folder: Path) -> Iterator[tuple[int, str, float]]:
    """What TensorBoard's files hold, each of which is records of length, checksum, event, checksum."""
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)
            data = data[12 + size + 4 :]


def test_tensorboard_shows_what_the_metrics_file_holds_also_of_a_resumed_run(tmp_path: Path):
    settings = short_run(tmp_path, monitors=["tensorboard"], max_steps=3, checkpoint_every=1, **SFT)
    with interrupted_at(loop, "train_step", 3):
        start(settings)
    start(settings)
    shown = {(step, name): value for step, name, value in scalars(settings.files.tensorboard)}
    lines = {int(line["progress/step"]): numbers(line) for line in read_metrics(settings.run_folder)}
    assert shown.keys() == {(step, name) for step, line in lines.items() for name in line}
    for (step, name), value in shown.items():
        assert value == pytest.approx(lines[step][name], rel=1e-6)


def test_a_monitor_that_fails_later_is_warned_of_once_and_the_run_goes_on(
    tmp_path: Path, wandb: Any, caplog: pytest.LogCaptureFixture
):
    monitor = wandb(StandIn(ConnectionError("gone\nfor good"), from_step=2))
    settings = short_run(tmp_path, monitors=["wandb"], max_steps=3, **SFT)
    start(settings)
    assert is_finished(settings.run_folder, settings.student)
    assert monitor.told == {line["progress/step"]: numbers(line) for line in read_metrics(settings.run_folder)}
    assert (len(monitor.told), monitor.started, monitor.closed) == (3, [0], 1)
    warnings = [line for line in settings.files.log.read_text().splitlines() if "monitor" in line]
    assert len(warnings) == 1
    assert "WARNING monitor wandb failed (ConnectionError: gone for good); the run goes on" in warnings[0]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_ends_the_run_before_its_first_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = {"tensorboard": "tensorboardX"}.get(name, name)
    monkeypatch.delitem(sys.modules, f"student_trainer.monitors.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    settings = short_run(tmp_path, monitors=[name], **SFT)
    with pytest.raises(UserError, match=rf"monitors: {name} needs the package {package} .* pip install {package}, or"):
        start(settings)
    assert read_metrics(settings.run_folder) == []


def test_a_start_that_fails_is_the_users_to_mend_and_what_had_started_is_closed(
    tmp_path: Path, wandb: Any, monkeypatch: pytest.MonkeyPatch
):
    first, second = StandIn(), wandb(StandIn(ValueError("no\nkey")))
    monkeypatch.setitem(sys.modules, "student_trainer.monitors.mlflow", first)
    settings = short_run(tmp_path, monitors=["mlflow", "wandb"], **SFT)
    with (
        pytest.raises(UserError, match=r"monitors: wandb can't start \(ValueError: no key\); mend that, or take"),
        open_monitors(settings, 7, leads=True),
    ):
        pass
    assert (first.started, first.closed, second.started, second.closed) == ([7], 1, [7], 0)


def test_only_the_worker_that_leads_starts_any(tmp_path: Path, wandb: Any, caplog: pytest.LogCaptureFixture):
    monitor = wandb(StandIn())
    settings = short_run(tmp_path, monitors=["wandb"], **SFT)
    with caplog.at_level(logging.DEBUG), open_monitors(settings, 0, leads=False) as monitors:
        monitors.log(1, {"train/loss": 1.0})
    assert (monitor.started, monitor.told, caplog.messages) == ([], {}, [])


def test_weights_and_biases_and_mlflow_are_called_as_their_libraries_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With stand-ins of the two libraries, as neither is installed with the project."""
    calls: list[tuple[str, Any, Any]] = []

    class Library(ModuleType):
        """Writes down each call and answers with itself."""

        Run = object

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *arguments, **named: calls.append((name, arguments, named)) or self

    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, Library(name))
        monkeypatch.delitem(sys.modules, f"student_trainer.monitors.{name}", raising=False)
    settings = short_run(tmp_path, monitors=["wandb", "mlflow"], **SFT)
    for folder_is_new in (True, False, True):
        if folder_is_new:
            shutil.rmtree(settings.run_folder, ignore_errors=True)
            settings.run_folder.mkdir()
        with open_monitors(settings, 0, leads=True) as monitors:
            monitors.log(3, {"progress/step": 3, "train/loss": 0.5})
    first, again, new = (named for name, _, named in calls if name == "init")
    assert first == again, "a resumed run is the same run"
    assert (first | {"id": new["id"]}, first["id"] == new["id"]) == (new, False), "a new folder is another run"
    assert (first["resume"], first["config"]["mode"], first["name"]) == ("allow", "sft", settings.run_folder.name)
    shown = {"progress/step": 3.0, "train/loss": 0.5}
    assert calls.count(("log", (shown,), {})) == calls.count(("finish", (), {})) == 3
    assert calls.count(("log_metrics", (shown,), {"step": 3})) == calls.count(("end_run", (), {})) == 3
