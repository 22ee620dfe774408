"""Checkpoints: whole or passed over, pruned, restored to the bit, on a disk or in a store that can't rename."""

import json
import logging
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from pyarrow.fs import FileSystem

from common.errors import UserError
from student_trainer.learning.step import Learner, make_learner
from student_trainer.persistence import checkpoint
from student_trainer.persistence.async_saver import Saver
from student_trainer.persistence.checkpoint import Snapshot, State
from student_trainer.persistence.resumption import cut_back, resume
from student_trainer.persistence.retention import by_format
from student_trainer.persistence.storage import Storage, open_storage
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.students import ALONE, SFT, save, short_run, storage_at


def moved_learner(settings: TrainSettings, seed: int) -> Learner:
    """A learner after one step along a random gradient."""
    learner = make_learner(settings, 10, ALONE)
    torch.manual_seed(seed)
    for parameter in learner.student.trainable():
        parameter.grad = torch.randn_like(parameter)
    learner.optimizer.step()
    learner.schedule.step()
    return learner


def remote() -> str:
    """A store of its own that takes files but can't rename a folder."""
    return f"fsspec+memory://{uuid4()}"


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """What learns in no test: it is only written, and put into a state that was."""
    return moved_learner(short_run(tmp_path_factory.mktemp("learner"), **SFT), seed=1)


@pytest.fixture(params=["run folder", "file", "remote"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    uri = {"run folder": None, "file": f"file://{tmp_path}/elsewhere", "remote": remote()}[request.param]
    return open_storage(tmp_path / "run", uri)


@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw_8bit"])
def test_a_learner_is_restored_to_the_bit(tmp_path: Path, storage: Storage, optimizer: str):
    settings = short_run(tmp_path, optimizer={"name": optimizer, "learning_rate": 0.01}, **SFT)
    before = moved_learner(settings, seed=1)
    save(storage, before, State(3, 1, 8, 20, 0.5))
    after = moved_learner(settings, seed=2)
    found = resume(storage, after, ALONE)
    assert found is not None
    assert (found, found.validation_loss) == (State(3, 1, 8, 20), 0.5)
    for each in (before, after):  # one more step shows the optimizer's own state
        for parameter in each.student.trainable():
            parameter.grad = torch.ones_like(parameter)
        each.optimizer.step()
    assert all(map(torch.equal, before.student.trainable(), after.student.trainable()))
    assert before.schedule.get_last_lr() == after.schedule.get_last_lr()


def save_three(storage: Storage, learner: Learner, **kept: int) -> None:
    for step, loss in ((2, 0.1), (4, 0.3), (10, 0.2)):
        save(storage, learner, State(step, 0, step, 20, loss), **kept)


def test_the_newest_and_the_best_are_kept(storage: Storage, learner: Learner):
    save_three(storage, learner, keep=1, keep_best=1)
    assert storage.steps() == [10, 2]
    assert storage.latest() == "step-10"
    save(storage, learner, State(12, 0, 12, 20), keep=1, keep_best=1)
    assert storage.steps() == [12, 2]
    save(storage, learner, State(14, 0, 14, 20, 0.05), keep=2, keep_best=1)
    assert storage.steps() == [14, 12]


def test_the_best_by_format_is_kept_the_newest_of_equals(storage: Storage, learner: Learner):
    for step, score in ((2, 0.5), (4, 0.8), (6, 0.8), (8, 0.1), (10, None)):
        save(storage, learner, State(step, 0, step, 20, format_score=score), keep=1)
    assert storage.steps() == [10, 6]
    assert by_format(storage) == [6]
    save(storage, learner, State(12, 0, 12, 20, format_score=0.9), keep=2)
    assert by_format(storage) == [12]
    assert storage.steps() == [12, 10]


DAMAGE = ["flip", "truncate", "delete", "no manifest", "torn manifest", "latest names nothing"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_named(
    tmp_path: Path, damage: str, learner: Learner, caplog: pytest.LogCaptureFixture
):
    storage, folder = storage_at(tmp_path / "run"), tmp_path / "run" / "checkpoints"
    save_three(storage, learner)
    file = folder / "step-10" / ("manifest.json" if "manifest" in damage else "optimizer.pt")
    data = bytearray(file.read_bytes())
    if damage in ("delete", "no manifest"):
        file.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "latest names nothing":
        (folder / "step-10").rename(folder / ".step-12.partial")  # one that was never finished is not seen
    else:
        file.write_bytes(data[:-3])
    with caplog.at_level(logging.WARNING):
        found = resume(storage, learner, ALONE)
    assert found == State(4, 0, 4, 20)
    assert "step-10" in caplog.text
    cut_back(tmp_path / "run", storage, found)
    assert storage.latest() == "step-4"
    save(storage, learner, State(6, 0, 6, 20), keep=1)  # damaged later ones and drafts don't push it out
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-6"]


def test_damage_in_a_store_is_passed_over_too(tmp_path: Path, learner: Learner):
    uri = remote()
    storage = open_storage(tmp_path / "run", uri)
    save_three(storage, learner)
    fs, root = FileSystem.from_uri(uri)
    fs.delete_file(f"{root}/run/step-10/manifest.json")  # the copy was cut off
    with fs.open_output_stream(f"{root}/run/step-4/optimizer.pt") as stream:
        stream.write(b"torn")
    assert resume(storage, learner, ALONE) == State(2, 0, 2, 20)


def test_a_checkpoint_later_than_the_latest_is_not_taken(tmp_path: Path, learner: Learner):
    """The machine ended between the two: the ledger may know no more than the latest does."""
    storage = storage_at(tmp_path / "run")
    save_three(storage, learner)
    latest = tmp_path / "run" / "checkpoints" / "latest"
    latest.unlink()
    assert resume(storage, learner, ALONE) == State(10, 0, 10, 20)
    latest.write_text("step-4")
    assert resume(storage, learner, ALONE) == State(4, 0, 4, 20)
    storage.remove(4)
    assert resume(storage, learner, ALONE) == State(2, 0, 2, 20)
    storage.remove(2)
    with pytest.raises(UserError, match=r"no checkpoint is in .*, where latest names 'step-4'; restore it"):
        resume(storage, learner, ALONE)


def test_a_folder_without_an_intact_checkpoint_is_refused(storage: Storage, learner: Learner):
    """Beginning again in silence would throw the run away."""
    assert resume(storage, learner, ALONE) is None
    for step in (2, 4):
        storage.add(step, lambda folder: (folder / "state.json").touch())
    with pytest.raises(UserError, match=r"no checkpoint in .*run.* is intact \(2 damaged, .*manifest.*\); restore one"):
        resume(storage, learner, ALONE)


def test_another_format_is_refused(tmp_path: Path, learner: Learner):
    save_three(storage_at(tmp_path / "run"), learner)
    path = tmp_path / "run" / "checkpoints" / "step-10"
    about = json.loads((path / "state.json").read_text()) | {"format_version": 99}
    (path / "state.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="format version 99, this trainer knows 4"):
        checkpoint.load(path, learner)


def test_an_error_of_the_background_is_raised_by_the_next_look_and_a_write_is_waited_for(
    tmp_path: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch
):
    settings = short_run(tmp_path, keep_best=0, **SFT)
    storage = storage_at(settings.run_folder)
    with Saver(settings, storage, ALONE, 0) as writing:
        writing.start(writing.take(learner, State(1, 0, 1, 20))[0])
        taken, waited = writing.take(learner, State(2, 0, 2, 20))
        assert storage.latest() == "step-1"
        assert waited > 0
        writing.start(taken)
    assert storage.latest() == "step-2"

    def fail(taken: Snapshot, folder: Path) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Snapshot, "write", fail)
    writing = Saver(settings, storage, ALONE, 2)
    writing.start(writing.take(learner, State(3, 0, 3, 20))[0])
    writing.start(writing.take(learner, State(4, 0, 4, 20))[0])
    for look in (writing.check, lambda: writing.__exit__(None, None, None)):
        with pytest.raises(UserError, match=r"after step 3 to .*: the disk is gone; it takes about \S+ MB"):
            look()
    assert sorted(path.name for path in (settings.run_folder / "checkpoints").iterdir()) == [
        "latest", "step-1", "step-2",
    ]  # fmt: skip


def test_a_storage_that_cannot_be_reached_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    for uri in ("foo://bucket", "fsspec+nonsense://bucket", f"{tmp_path}/file"):
        with pytest.raises(UserError, match=r"checkpoint_storage: can't reach .*; give a folder, or a URI"):
            open_storage(tmp_path / "run", uri)
