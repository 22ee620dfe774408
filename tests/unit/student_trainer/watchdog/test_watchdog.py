"""The watchdog in a run: it lets a healthy one be, ends one that collapses with its best checkpoint, and keeps time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from common.quality.looks import Look, Written
from common.render import Renderer
from student_trainer import loop
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.guard_settings import WatchdogSettings
from student_trainer.learning.step import make_learner
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.persistence.summary import is_finished
from student_trainer.settings import TrainSettings
from student_trainer.watchdog import watchdog
from student_trainer.watchdog.restoration import Collapsed
from student_trainer.watchdog.watchdog import Watchdog
from student_trainer.watchdog.writing import Prompt
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import TOKENIZER, make_row
from tests.unit.student_trainer.students import ALONE, SFT, WORKERS, short_run, student_settings
from tests.unit.student_trainer.watchdog.offering import watched_run

STEADY = {"learning_rate": 0.01, "schedule": "constant"}
TINY = {"learning_rate": 1e-5}
HUGE = {"learning_rate": 2.0, "schedule": "constant", "warmup_fraction": 1.0}
"""Rises from what teaches to what destroys."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    """A finished run whose student learnt the format by heart, from nothing, in 70 steps."""
    folder = tmp_path_factory.mktemp("healthy")
    student = student_settings(folder / "student", lora=None).model_dump()
    settings = watched_run(folder, student=student, optimizer=STEADY, epochs=14, micro_batch_size=4)
    run_folder.prepare(settings)
    train(settings, ALONE)
    return settings


def knowing_run(tmp_path: Path, healthy: TrainSettings, **changes: Any) -> TrainSettings:
    """A run that begins with the `healthy` one's student, watched after every step."""
    student = healthy.student.model_dump() | {"model": str(healthy.files.model)}
    watching = {"every": 1, "prompts": 3, "max_new_tokens": 48, "time_share": 1.0}
    values = {"student": student, "watchdog": watching, "epochs": 4, "checkpoint_every": 1000, "micro_batch_size": 4}
    return watched_run(tmp_path, **(values | changes))


def looks(settings: TrainSettings) -> dict[int, float]:
    return {
        line["progress/step"]: line["watchdog/valid"]
        for line in read_metrics(settings.run_folder)
        if "watchdog/valid" in line
    }


def test_a_healthy_run_is_let_be_and_its_best_checkpoint_kept(healthy: TrainSettings):
    assert is_finished(healthy.run_folder, healthy.student)
    valid = looks(healthy)
    assert list(valid) == list(range(2, 71, 2))
    assert (valid[2], valid[70]) == (0.0, 1.0)
    lines = [json.loads(line) for line in healthy.files.watchdog.read_text().splitlines()]
    assert [len(line["written"]) for line in lines] == [5] * 35
    assert {each["look"] for each in lines[-1]["written"]} == {"valid"}
    scores = {line["progress/step"]: line["score"] for line in lines}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert (healthy.files.checkpoints / f"step-{best}").exists()
    metrics = read_metrics(healthy.run_folder)
    assert all(("time/watchdog_s" in line) == (line["progress/step"] in valid) for line in metrics)


def collapse(settings: TrainSettings, world: ProcessGroup) -> str:
    with pytest.raises(Collapsed) as ended:
        train(settings, world)
    return str(ended.value)


def test_a_collapse_ends_the_run_with_its_best_checkpoint(tmp_path: Path, healthy: TrainSettings):
    settings = knowing_run(tmp_path, healthy, optimizer=HUGE)
    run_folder.prepare(settings)
    said = collapse(settings, ALONE)
    valid = looks(settings)
    first, last = min(valid), max(valid)
    assert last < 20
    assert valid[first] == 1.0
    assert f"collapsed: at step {last} valid {valid[last]:.2f} (best 1.00)" in said
    assert "; row-0 is " in said
    assert f"step-{first} and {settings.files.model} hold the best before" in said
    assert "fell: at step" in settings.files.log.read_text()
    best = settings.files.checkpoints / f"step-{first}"
    assert (settings.files.checkpoints / "latest").read_text() == best.name
    restored, weights = (load_file(folder / "model.safetensors") for folder in (settings.files.model, best))
    assert all(torch.equal(restored[name], weights[name]) for name in restored)
    assert not is_finished(settings.run_folder, settings.student)


def test_a_collapsed_run_goes_on_from_the_best_checkpoint(tmp_path: Path, healthy: TrainSettings):
    settings = knowing_run(tmp_path, healthy, optimizer=HUGE)
    run_folder.prepare(settings)
    for _ in range(2):
        assert "step-1 and " in collapse(settings, ALONE)
    steps = [line["progress/step"] for line in read_metrics(settings.run_folder)]
    assert steps == list(range(len(steps)))


def collapse_together(world: ProcessGroup, settings: TrainSettings) -> None:
    (settings.run_folder / f"said-{world.rank}").write_text(collapse(settings, world))


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_two_workers_end_together(tmp_path: Path, healthy: TrainSettings, parallelism: str):
    """One of three prompts is the second worker's."""
    settings = knowing_run(tmp_path, healthy, optimizer=HUGE, workers=WORKERS | {"parallelism": parallelism})
    run_folder.prepare(settings)
    run_pair(collapse_together, settings)
    said = [(settings.run_folder / f"said-{rank}").read_text() for rank in range(2)]
    assert said[0] == said[1]
    assert f"step-1 and {settings.files.model} hold the best before" in said[0]
    assert looks(settings)[1] == 1.0
    assert settings.files.model.exists()


def test_a_resumed_run_knows_the_best_it_saw(tmp_path: Path, healthy: TrainSettings):
    """It is cut before its collapse, and collapses all the same, as what it wrote before is not forgotten."""
    settings = knowing_run(tmp_path, healthy, optimizer=HUGE, checkpoint_every=1)
    run_folder.prepare(settings)
    with interrupted_at(loop, "train_step", 3):
        train(settings, ALONE)
    assert "(best 1.00)" in collapse(settings, ALONE)


@pytest.mark.parametrize("off", [{"watchdog": None}, {"watchdog": {"every": 1000}}])
def test_a_run_that_is_not_watched_goes_on(tmp_path: Path, healthy: TrainSettings, off: dict[str, Any]):
    settings = knowing_run(tmp_path, healthy, optimizer=HUGE, **off)
    run_folder.prepare(settings)
    train(settings, ALONE)
    assert looks(settings) == {}
    assert is_finished(settings.run_folder, settings.student)


def test_a_watched_run_learns_the_same_bits(tmp_path: Path, healthy: TrainSettings):
    learnt = []
    for name, watching in (("watched", {"every": 1, "max_new_tokens": 48}), ("not", None)):
        changes = {"run_folder": tmp_path / name, "watchdog": watching, "optimizer": TINY, "epochs": 1}
        settings = knowing_run(tmp_path, healthy, **changes)
        run_folder.prepare(settings)
        train(settings, ALONE)
        assert bool(looks(settings)) == (watching is not None)
        learnt.append((settings.files.model / "model.safetensors").read_bytes())
    assert learnt[0] == learnt[1]


def test_without_prompts_it_says_that_it_is_off(tmp_path: Path):
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "max_length": 128}
    settings = short_run(tmp_path, rows=[make_row(number) for number in range(8)], data=data, **SFT)
    run_folder.prepare(settings)
    train(settings, ALONE)
    assert "the watchdog is off: no row of data.validation" in settings.files.log.read_text()


def test_damaged_checks_are_one_line(tmp_path: Path, healthy: TrainSettings):
    settings = knowing_run(tmp_path, healthy, optimizer=TINY, checkpoint_every=1)
    run_folder.prepare(settings)
    with interrupted_at(loop, "train_step", 4):
        train(settings, ALONE)
    lines = settings.files.watchdog.read_text().splitlines(keepends=True)
    settings.files.watchdog.write_text("".join(["damaged\n", *lines[1:]]))
    with pytest.raises(UserError, match=r"line 1 of .*watchdog\.jsonl is damaged"):
        train(settings, ALONE)


@pytest.fixture
def a_second_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check takes a second, and finds one valid completion."""

    def write(*_: Any) -> list[Written]:
        look: Look = "valid"
        return [Written("row-0", "", 9, True, 0.0, look)]

    now = iter(range(10**6))
    monkeypatch.setattr(watchdog, "write", write)
    monkeypatch.setattr(watchdog.time, "perf_counter", lambda: float(next(now)))


@pytest.mark.usefixtures("a_second_each")
@pytest.mark.parametrize(
    ("share", "step_s", "expected"), [(0.03, 10.0, 20), (0.03, 1.0, 6), (0.03, 0.1, 1), (1.0, 0.0, 20)]
)
def test_checks_keep_to_their_share_of_the_time(tmp_path: Path, share: float, step_s: float, expected: int):
    """20 of 200 steps are due; after the first, whose cost isn't known, no more than the share is spent."""
    settings = watched_run(tmp_path)
    watching = WatchdogSettings(every=10, time_share=share)
    learner, renderer = make_learner(settings, 10, ALONE), Renderer(TOKENIZER, "toolbench", 240)
    watched = Watchdog(settings, watching, learner.student, renderer, [Prompt("row-0", [1], [])], [], ALONE)
    done, elapsed = [], 0.0
    for step in range(1, 21 * 10):
        check = watched.check(step, step_s)
        elapsed += step_s + check.seconds
        if check.figures is not None:
            done.append(step)
            assert len(done) == 1 or len(done) <= share * elapsed
    assert done[0] == 10
    assert len(done) == expected


def test_prompts_come_from_the_held_out_slice_alone(tmp_path: Path, healthy: TrainSettings):
    data = healthy.data.model_dump() | {"validation_rows": 2}
    settings = knowing_run(tmp_path, healthy, optimizer=TINY, data=data, epochs=1)
    run_folder.prepare(settings)
    train(settings, ALONE)
    line = json.loads(settings.files.watchdog.read_text().splitlines()[0])
    assert [each["id"] for each in line["written"]] == ["row-0", "row-1"]
