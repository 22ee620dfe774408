"""A run that is ended anywhere and started again: the same bits, each prompt once; workers end together."""

import asyncio
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from common.api import DistillRequest
from common.errors import UserError
from common.wire import TeacherAnswer
from student_trainer import loop
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence import run_folder, storage
from student_trainer.persistence.checkpoint import Snapshot
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.persistence.run_lock import locked
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import StandInTeacher, connect_to
from tests.unit.student_trainer.students import ALONE, SFT, WORKERS, short_run, storage_at
from tests.unit.student_trainer.test_loop import student_hash

STEPS, ROWS = 5, 20
DROPOUT = {"rank": 4, "dropout": 0.3}


def start(settings: TrainSettings, world: ProcessGroup = ALONE, teacher: StandInTeacher | None = None) -> None:
    run_folder.prepare(settings)
    train(settings, world, connect_to(teacher or StandInTeacher()))


def ids(settings: TrainSettings, file: str = "used.jsonl") -> list[str]:
    path = settings.run_folder / file
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


STORE = "fsspec+memory://ended"
ENDS = [
    pytest.param(loop, "train_step", 1, None, id="before any checkpoint"),
    pytest.param(loop, "train_step", 4, STORE, id="between checkpoints"),
    pytest.param(loop, "_write_down", 4, None, id="before a checkpoint's step is written down"),
    pytest.param(Snapshot, "write", 2, None, id="before the second checkpoint is written"),
    pytest.param(storage, "write_atomically", 2, None, id="before the second checkpoint is the latest"),
    pytest.param(storage, "copy_files", 8, STORE, id="before the manifest of the second is in its store"),
    pytest.param(loop, "write_student", 1, STORE, id="before the student is written"),
]
"""Where a run ends: the call, counted from 1, of what would come next, and where its checkpoints are."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainSettings]:
    """A whole run with dropout on recorded completions, and its folder."""
    folder = tmp_path_factory.mktemp("resumption")
    settings = with_dropout(folder, "whole")
    start(settings)
    return folder, settings


def with_dropout(folder: Path, run: str, **changes: Any) -> TrainSettings:
    student = short_run(folder).student.model_dump() | {"lora": DROPOUT}
    return short_run(folder, run_folder=folder / run, **SFT | {"student": student, "checkpoint_every": 2} | changes)


@pytest.mark.parametrize(("owner", "name", "count", "uri"), ENDS)
def test_a_run_that_ended_anywhere_goes_on_to_the_same_bits(
    undisturbed: tuple[Path, TrainSettings], owner: Any, name: str, count: int, uri: str | None
):
    folder, whole = undisturbed
    settings = with_dropout(folder, f"{name}-{count}", checkpoint_storage=uri)
    with interrupted_at(owner, name, count):
        start(settings)
    start(settings)
    assert_same(settings, whole)


def assert_same(settings: TrainSettings, whole: TrainSettings) -> None:
    assert student_hash(settings) == student_hash(whole)
    assert ids(settings) == ids(whole)
    assert Counter(ids(settings)) == {f"row-{n}": 1 for n in range(ROWS)}
    assert [line["train/loss"] for line in read_metrics(settings.run_folder)] == [
        line["train/loss"] for line in read_metrics(whole.run_folder)
    ]


def test_a_worker_killed_while_it_writes_a_checkpoint_goes_on_to_the_same_bits(
    undisturbed: tuple[Path, TrainSettings],
):
    folder, whole = undisturbed
    settings = with_dropout(folder, "killed")

    def write_half(taken: Snapshot, draft: Path) -> None:
        if taken.state.step == 4:
            (draft / "optimizer.pt").write_bytes(b"half")
            os._exit(9)
        write(taken, draft)

    write = Snapshot.write
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Snapshot, "write", write_half)
        worker = get_context("fork").Process(target=start, args=(settings,))
        worker.start()
        worker.join()
    assert worker.exitcode == 9
    assert (storage_at(settings.run_folder).latest(), len(ids(settings)) > 8) == ("step-2", True)
    start(settings)
    assert_same(settings, whole)


class Faltering(StandInTeacher):
    """At the row `id` it refuses the whole run; or it is silent, and somebody asks for a stop by the file `stop`."""

    def __init__(self, id: str, stop: Path | None) -> None:
        super().__init__(refuse=lambda sequence: 401 if sequence.id == id and stop is None else None)
        self.id, self.stop = id, stop

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        if self.stop and request.sequences[0].id == self.id:
            self.stop.touch()
            await asyncio.Event().wait()
        return await super().distill(request)


def falter(world: ProcessGroup, settings: TrainSettings, id: str, stop: Path | None) -> None:
    """Both workers must end: with the same error, or quietly."""
    if stop:
        train(settings, world, connect_to(Faltering(id, stop)))
    else:
        with pytest.raises(UserError, match=rf"\(401\): no to {id}"):
            train(settings, world, connect_to(Faltering(id, stop)))


def go_on(world: ProcessGroup, settings: TrainSettings) -> None:
    train(settings, world, connect_to(StandInTeacher()))


@pytest.mark.parametrize("asked", [True, False], ids=["stop", "failure"])
def test_workers_end_together_after_a_checkpoint_of_the_last_whole_step(tmp_path: Path, asked: bool):
    """One worker alone gets no answer, or a refusal; the other waits for it to begin the step."""
    order = ids_in_order(tmp_path)
    settings = short_run(tmp_path, workers=WORKERS | {"count": 2})
    run_folder.prepare(settings)
    run_pair(falter, settings, order[3 * 4 + 3], settings.files.stop if asked else None)
    done = [line["progress/step"] for line in read_metrics(settings.run_folder)]
    assert done == list(range(1, len(done) + 1))
    assert storage_at(settings.run_folder).latest() == (f"step-{len(done)}" if done else None)
    assert ids(settings) == order[: 4 * len(done)]
    assert not (settings.run_folder / "summary.json").exists()
    run_folder.prepare(settings)
    run_pair(go_on, settings)
    assert ids(settings) == order


def ids_in_order(folder: Path) -> list[str]:
    settings = short_run(folder)
    return [PromptStream(settings.data.train, settings.shuffle_seed).row(0, index).id for index in range(ROWS)]


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "optimizer.pt"])
def test_a_disk_without_room_is_one_line_and_the_run_goes_on_once_there_is_some(tmp_path: Path, file: str):
    """A limit on the size of files stands for the disk: it fails the same calls."""
    room = tmp_path / "room"
    start(short_run(tmp_path, run_folder=room, max_steps=2, checkpoint_every=2, **SFT))
    limit = next(path.stat().st_size for path in room.rglob(file)) - 1
    settings = short_run(tmp_path, max_steps=4, checkpoint_every=2, **SFT)
    run_folder.prepare(settings)
    with file_size_limit(limit), pytest.raises(UserError, match=r"can't (write the checkpoint|append).*free space and"):
        go_on(ALONE, settings)
    assert not list(settings.run_folder.rglob("*.partial"))
    start(settings)
    assert Counter(ids(settings)) == dict.fromkeys(ids_in_order(tmp_path)[:16], 1)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_one_run_at_a_time_writes_to_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = short_run(tmp_path, **SFT)
    run_folder.prepare(settings)
    monkeypatch.setattr(run_folder, "locked", partial(locked, patience_s=0))
    with locked(settings.run_folder):
        settings.files.stop.touch()
        with pytest.raises(UserError, match=rf"another run writes to .* \(process {os.getpid()} on .*\); wait for"):
            run_folder.prepare(settings)
        assert settings.files.stop.exists()
    run_folder.prepare(settings)
    assert not settings.files.stop.exists()


def test_another_runs_checkpoints_are_not_taken_over(tmp_path: Path):
    settings = short_run(tmp_path, max_steps=1, checkpoint_storage=f"{tmp_path}/store", **SFT)
    start(settings)
    run_folder.prepare(settings)
    with pytest.raises(UserError, match="store/run holds another run's checkpoints; give this run_folder another name"):
        run_folder.prepare(settings.model_copy(update={"run_folder": tmp_path / "other" / "run"}))
