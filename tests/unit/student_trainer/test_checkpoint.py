"""Checkpoints: whole or passed over, pruned, restored to the bit."""

import json
import logging
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from student_trainer import checkpoint
from student_trainer.checkpoint import State
from student_trainer.settings import TrainSettings
from student_trainer.step import Learner, make_learner
from tests.unit.student_trainer.students import ALONE, SFT, short_run


def moved_learner(settings: TrainSettings, seed: int) -> Learner:
    """A learner after one step along a random gradient."""
    learner = make_learner(settings, 10, ALONE)
    torch.manual_seed(seed)
    for parameter in learner.student.trainable():
        parameter.grad = torch.randn_like(parameter)
    learner.optimizer.step()
    learner.schedule.step()
    return learner


@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw_8bit"])
def test_a_learner_is_restored_to_the_bit(tmp_path: Path, optimizer: str):
    settings = short_run(tmp_path, optimizer={"name": optimizer, "learning_rate": 0.01}, **SFT)
    before = moved_learner(settings, seed=1)
    checkpoint.save(tmp_path / "checkpoints", before, State(3, 1, 8, 20), 2, ALONE)
    path = tmp_path / "checkpoints" / "step-3"
    after = moved_learner(settings, seed=2)
    assert checkpoint.load(path, after) == State(3, 1, 8, 20)
    for learner in (before, after):  # one more step shows the optimizer's own state
        for parameter in learner.student.trainable():
            parameter.grad = torch.ones_like(parameter)
        learner.optimizer.step()
    assert all(map(torch.equal, before.student.trainable(), after.student.trainable()))
    assert before.schedule.get_last_lr() == after.schedule.get_last_lr()


def save_three(tmp_path: Path, keep: int = 3) -> Path:
    learner = moved_learner(short_run(tmp_path, **SFT), seed=1)
    for step in (2, 4, 10):
        checkpoint.save(tmp_path / "checkpoints", learner, State(step, 0, step, 20), keep, ALONE)
    return tmp_path / "checkpoints"


def test_only_the_newest_are_kept(tmp_path: Path):
    folder = save_three(tmp_path, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["step-10", "step-4"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no manifest", "torn manifest"])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    folder = save_three(tmp_path)
    file = folder / "step-10" / ("manifest.json" if "manifest" in damage else "optimizer.pt")
    data = bytearray(file.read_bytes())
    if damage in ("delete", "no manifest"):
        file.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[:-3])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest_intact(folder) == folder / "step-4"
    assert "step-10" in caplog.text


def test_a_folder_without_an_intact_checkpoint_is_refused(tmp_path: Path):
    """Beginning again in silence would throw the run away."""
    folder = save_three(tmp_path)
    for checkpoint_folder in folder.iterdir():
        (checkpoint_folder / "optimizer.pt").unlink()
    with pytest.raises(UserError, match=r"no checkpoint in .*checkpoints is intact \(3 damaged\); restore one"):
        checkpoint.newest_intact(folder)


def test_a_checkpoint_never_finished_is_not_seen(tmp_path: Path):
    folder = save_three(tmp_path)
    (folder / "step-10").rename(folder / ".step-12.partial")
    assert checkpoint.newest_intact(folder) == folder / "step-4"


def test_damaged_later_checkpoints_do_not_push_out_new_ones(tmp_path: Path):
    folder = save_three(tmp_path)
    (folder / "step-10" / "manifest.json").unlink()
    (folder / ".step-12.partial").mkdir()
    learner = moved_learner(short_run(tmp_path, **SFT), seed=1)
    checkpoint.save(folder, learner, State(6, 0, 6, 20), 1, ALONE)
    assert [path.name for path in folder.iterdir()] == ["step-6"]


def test_another_format_version_is_refused(tmp_path: Path):
    path = save_three(tmp_path) / "step-10"
    about = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(about | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        checkpoint.load(path, make_learner(short_run(tmp_path, **SFT), 10, ALONE))


def test_without_checkpoints_there_is_none(tmp_path: Path):
    assert checkpoint.newest_intact(tmp_path / "nowhere") is None
