"""What stops a run before time is lost: on all workers alike, by name, and kept to be seen again."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.__main__ import main
from student_trainer.commands.replay import replay
from student_trainer.data.plan import Example, Key, StepExamples, StepPlan
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.nonfinite_dump import folder_of, read_failed
from student_trainer.learning.step import make_learner, train_step
from student_trainer.learning.student import Student, load_student
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import StandInTeacher, connect_to
from tests.unit.student_trainer.students import ALONE, SFT, WORKERS, short_run, storage_at

CPU = torch.device("cpu")


def example(name: str, writer: Any = "teacher", logprob: float = -1.0) -> Example:
    """Three tokens after two, each the teacher's only word, with the logarithm `logprob`."""
    ids = np.array([7, 8, 9], np.int32)
    each = np.full(3, logprob, np.float32)
    answer = TeacherAnswer(name, "m", "r", "scored", None, ids, each, ids[:, None], each[:, None], each)
    return Example(Sequence(name, (5, len(name)), (7, 8, 9), writer, "stop"), answer, Key(0, 0))


def step_of(*examples: Example) -> StepExamples:
    return StepExamples(
        plan=StepPlan(4, 0, range(len(examples))),
        examples=list(examples),
        unused=[],
        began=0.0,
        waited_s=0.0,
        stream_s=0.0,
    )


def prepared(tmp_path: Path, **changes: Any) -> TrainSettings:
    """Micro-batches of one sequence, and dropout, so that a replay must draw what the step drew."""
    student = short_run(tmp_path).student.model_dump() | {"lora": {"rank": 4, "dropout": 0.3}}
    settings = short_run(tmp_path, micro_batch_size=1, **{"student": student} | changes)
    run_folder.prepare(settings)
    return settings


def test_a_loss_that_is_not_finite_leaves_the_student_alone_and_can_be_seen_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = prepared(tmp_path)
    learner = make_learner(settings, 10, ALONE)
    sound = train_step(learner, step_of(example("a"), example("b")), settings, ALONE)  # moves B, so that dropout shows
    before = [each.clone() for each in learner.student.trainable()]
    folder = folder_of(settings.run_folder, 4)
    folder.mkdir(parents=True)
    stale = folder / "worker-1.pt"
    stale.write_text("of a second worker, which the run had when the step failed before")
    with pytest.raises(UserError, match=r"step 4: loss nan, .*sequences: a, bad, b\. .*student_trainer replay (\S+)`"):
        train_step(learner, step_of(example("a"), example("bad", logprob=math.nan), example("b")), settings, ALONE)
    assert all(map(torch.equal, learner.student.trainable(), before))
    assert not stale.exists()

    replayed = {each.ids[0]: each for each in replay(folder, CPU)}
    assert [name for name, each in replayed.items() if not math.isfinite(each.loss + each.grad_norm)] == ["bad"]
    assert main(["replay", str(folder)]) == 0
    assert f"worker 0: loss {replayed['bad'].loss}" in capsys.readouterr().out
    with pytest.raises(UserError, match="no failed step is in"):
        main(["replay", str(tmp_path)])

    part = read_failed(folder / "worker-0.pt", CPU)
    assert (part.step, part.ids) == (4, ["a", "bad", "b"])
    again = train_step(learner, step_of(example("a"), example("b")), settings, ALONE)
    assert again["train/loss"] < sound["train/loss"]


def test_a_replayed_step_is_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With its weights, its draws of dropout, its scale of the loss."""
    settings = prepared(tmp_path)
    learner = make_learner(settings, 10, ALONE)
    train_step(learner, step_of(example("a"), example("b")), settings, ALONE)
    monkeypatch.setattr("student_trainer.learning.checks.math", SimpleNamespace(isfinite=lambda number: False))
    with pytest.raises(UserError) as stopped:
        train_step(learner, step_of(example("a"), example("b")), settings, ALONE)
    losses = [each.loss for each in replay(folder_of(settings.run_folder, 4), CPU)]
    said = float(str(stopped.value).split("loss ")[1].split(",")[0])
    assert sum(losses) == pytest.approx(said, rel=1e-6)


def test_numbers_that_grow_out_of_bounds_stop_a_run(tmp_path: Path):
    """The update before is what broke the student, so it gets no checkpoint."""
    settings = prepared(tmp_path, optimizer={"learning_rate": 1e30}, **SFT)
    with pytest.raises(UserError, match=r"step 2: loss nan.*row-\d+, row-\d+"):
        train(settings, ALONE)
    assert storage_at(settings.run_folder).steps() == []
    assert not any(math.isfinite(each.loss) for each in replay(folder_of(settings.run_folder, 2), CPU))


def step_and_say(world: ProcessGroup, settings: TrainSettings, shares: list[Example]) -> None:
    """One of two workers; what it says when it stops goes to a file."""
    with pytest.raises(UserError) as stopped:
        train_step(make_learner(settings, 10, world), step_of(shares[world.rank]), settings, world)
    (settings.run_folder / f"said-{world.rank}").write_text(str(stopped.value))


@pytest.mark.parametrize(
    ("other", "alpha", "complaint"),
    [
        (example("bad", logprob=math.nan), 0.5, "its sequences: a, bad"),
        (example("own", writer="student"), 0.0, "no token of own carries loss: with loss.alpha 0 "),
    ],
    ids=["not finite", "empty mask"],
)
@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_what_one_worker_finds_stops_both(
    tmp_path: Path, other: Example, alpha: float, complaint: str, parallelism: str
):
    settings = prepared(tmp_path, loss={"alpha": alpha}, workers=WORKERS | {"parallelism": parallelism})
    run_pair(step_and_say, settings, [example("a"), other])
    one, two = ((settings.run_folder / f"said-{rank}").read_text() for rank in (0, 1))
    assert one == two
    assert complaint in one
    if "bad" in complaint:
        replayed = replay(folder_of(settings.run_folder, 4), CPU)
        assert {each.rank: math.isfinite(each.loss) for each in replayed} == {0: True, 1: False}


def test_a_parameter_without_gradient_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load_with_idle_parameter(*arguments: Any) -> Student:
        student = load_student(*arguments)
        student.register_parameter("idle", torch.nn.Parameter(torch.zeros(1)))
        return student

    monkeypatch.setattr("student_trainer.learning.step.load_student", load_with_idle_parameter)
    settings = prepared(tmp_path)
    with pytest.raises(UserError, match=r"no gradient reaches idle: .*student\.lora\.target_modules"):
        train(settings, ALONE, connect_to(StandInTeacher()))
