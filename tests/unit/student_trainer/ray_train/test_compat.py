"""The Ray that is installed is the one whose private parts are known, and another is noticed."""

import re
from pathlib import Path

import pytest
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer

from student_trainer.ray_train import compat


def test_ray_is_the_one_that_runs_were_tested_with():
    assert compat.moved() == []
    required = Path("requirements/base.in").read_text()
    assert re.findall(r"^ray\S*==([\d.]+)$", required, re.M) == [compat.TESTED_VERSION]


def test_another_ray_is_named_with_what_moved(monkeypatch: pytest.MonkeyPatch):
    assert compat.moved("9.9.9") == [f"version 9.9.9, tested with {compat.TESTED_VERSION}"]
    monkeypatch.setattr(ControllerCallback, "after_controller_start", lambda self: None)
    monkeypatch.setitem(compat.METHODS, (compat.WorkerGroup, "gone"), ["self"])
    assert compat.moved() == [
        "ControllerCallback.after_controller_start takes ['self'], expected ['self', 'train_run_context']",
        "WorkerGroup.gone takes None, expected ['self']",
    ]


def test_no_other_file_imports_rays_private_parts():
    guilty = [path for path in Path("student_trainer").rglob("*.py") if "ray.train.v2._internal" in path.read_text()]
    assert guilty == [Path("student_trainer/ray_train/compat.py")]


def test_the_trainers_own_part(monkeypatch: pytest.MonkeyPatch):
    callbacks = [PlacementGroupCleanerCallback(), ControllerCallback()]
    answered: list[int] = []
    monkeypatch.setattr(TorchTrainer, "__init__", lambda self: None)
    monkeypatch.setattr(TorchTrainer, "_create_default_callbacks", lambda self: callbacks)
    trainer = compat.Trainer(lambda: answered.append(1))
    assert trainer._create_default_callbacks() == callbacks[1:]
    trainer._register_sigint_handler(None)
    assert answered == [1]
