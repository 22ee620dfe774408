"""Who waits for whom: the parts of a step as measured, and the verdict on them in words."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from student_trainer.data.plan import StepExamples, StepPlan, TeacherStats
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step_times import times_of
from student_trainer.loop import train
from student_trainer.persistence import run_folder, summary
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.persistence.summary import Watch, summarise, verdict
from tests.unit.student_trainer.stand_in import TOP_K, StandInTeacher, connect_to
from tests.unit.student_trainer.students import ALONE, SFT, short_run

PARTS = ("waited", "outage", "stream", "compute", "optimizer")


def line(waited: float, stream: float = 0.0, checkpoint: float = 0.0, asked: bool = True, **more: float) -> Any:
    """A step of 10 s."""
    times = {"time/step_s": 10.0, "time/waited_s": waited, "time/stream_s": stream, "time/checkpoint_s": checkpoint}
    ahead = {"pipeline/window": 32.0, "pipeline/window_limit": 256.0} if asked else {}
    aside = {"progress/quarantined": 0, "progress/dropped_by_length": 0}
    return {"progress/used": 4, **aside, **times, **ahead, **more}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (line(4.1), "teacher-bound: trainers waited 41%; serve about 1.7 times as many replicas"),
        (
            line(4.1, **{"pipeline/replicas": 3}),
            "teacher-bound: trainers waited 41%; serve about 1.7 times as many replicas (add 2 to 3)",
        ),
        (
            line(8, **{"time/outage_s": 6}),
            "no teacher answered for 12 s, 60% of the time; else teacher-bound: trainers waited 50%; serve about 2.0",
        ),
        (line(5, **{"time/outage_s": 5}), "no teacher answered for 10 s, 50% of the time; else student-bound: the"),
        (line(5, **{"pipeline/replicas": 2}), "serve about 2.0 times as many replicas (add 2)"),
        (
            line(4, **{"pipeline/window_limit": 32.0}),
            "exceed its limit of 32: teacher.window, or max_window where that is null",
        ),
        (line(0.2), "student-bound: the teacher was waited for 2%; add trainers to go faster"),
        (line(0.8), "balanced: the teacher was waited for 8%"),
        (line(4, stream=9), "stream-bound: trainers waited 40% while reading and rendering rows took 90% of the time"),
        (line(3, checkpoint=10), "checkpoint-bound: the run stood still for checkpoints 50%; raise checkpoint_every"),
        (line(3, stream=3, asked=False), "stream-bound: trainers waited 30% while reading and rendering rows took 30%"),
        (line(0.1, asked=False), "student-bound: rows were waited for 1%"),
    ],
)
def test_the_verdict(step: Any, said: str):
    assert said in verdict([{"progress/step": 0, "validation/loss": 1.0}, step, step])


@pytest.mark.parametrize(
    ("workers", "waited", "outage"),
    [
        ([(30, 10)], 30, 10),
        ([(30, 40)], 30, 30),  # the outage began in the step before
        ([(30, 10), (20, 10)], 30, 10),
        ([(10, 10), (30, 0)], 30, 0),  # only one of two was without a teacher, and the other waited longer
        ([(10, 0), (30, 25)], 30, 20),
    ],
)
def test_an_outage_is_what_no_teacher_more_would_have_spared(
    workers: list[tuple[float, float]], waited: float, outage: float
):
    met: list[dict[str, float]] = []

    class Others(ProcessGroup):
        """Workers that were here before."""

        def maxima(self, values: dict[str, float]) -> dict[str, float]:
            met.append(values)
            return {name: max(each[name] for each in met) for name in values}

    for waited_s, outage_s in workers:
        teacher = TeacherStats(counts={"outage_s": outage_s})
        step = StepExamples(
            plan=StepPlan(1, 0, range(1)),
            examples=[],
            unused=[],
            began=0.0,
            waited_s=waited_s,
            stream_s=0.0,
            teacher=teacher,
        )
        times = times_of(step, 0.0, 0.0, Others(0, len(workers), torch.device("cpu")))
    assert (times["time/waited_s"], times["time/outage_s"]) == (waited, outage)


def test_a_verdict_on_nothing():
    assert verdict([]) == "no step was taken"


def test_the_watch_says_what_held_up_the_steps_since_it_last_spoke(caplog: pytest.LogCaptureFixture):
    """A step takes 10 s, and 8 s more where a checkpoint follows it; it speaks after 180 s."""
    watch, spoke = Watch(), []
    with caplog.at_level(logging.INFO, summary.__name__):
        for step in [line(9)] * 18 + [line(0, checkpoint=8)] * 9 + [line(0)] * 30:
            watch.see(step)
            spoke.append(len(caplog.messages))
    assert [message.split(":")[0] for message in caplog.messages] == [
        "teacher-bound", "checkpoint-bound", "student-bound",
    ]  # fmt: skip
    assert [spoke.index(number) + 1 for number in (1, 2, 3)] == [18, 29, 47]


def test_each_step_says_where_its_time_went_and_how_far_ahead_it_was_asked(tmp_path: Path):
    teacher = {"url": "http://stand-in", "model": "teacher", "top_k": TOP_K, "max_window": 12}
    settings = short_run(tmp_path, teacher=teacher, epochs=3)
    run_folder.prepare(settings)
    train(settings, ALONE, connect_to(StandInTeacher(replicas=2)))
    used = [json.loads(entry) for entry in (settings.run_folder / "used.jsonl").read_text().splitlines()]
    assert [entry["index"] for entry in used] == 3 * list(range(20))
    lines = [line for line in read_metrics(settings.run_folder) if "progress/used" in line]
    for step in lines:
        parts = {part: step[f"time/{part}_s"] for part in PARTS}
        assert min(parts.values()) >= 0
        assert parts["waited"] + parts["compute"] + parts["optimizer"] <= step["time/step_s"]
        assert 4 <= step["pipeline/window"] <= step["pipeline/window_limit"] == 12
        assert step["pipeline/in_flight"] + step["pipeline/ready"] <= 12
        assert step["pipeline/latency_s"] > 0
        assert step["pipeline/replicas"] == 2
    assert min(step["time/compute_s"] for step in lines) > 0
    stale = [step["pipeline/staleness"] for step in lines]
    assert stale[0] == 0
    assert 1 <= max(stale) <= 3
    assert sum(step["time/stream_s"] for step in lines) > 0
    summary = json.loads((settings.run_folder / "summary.json").read_text())
    assert summary["staleness"] == max(stale)
    assert summary["verdict"] == verdict(lines)
    assert summary["verdict"] in (settings.run_folder / "log.txt").read_text()


def test_a_run_without_a_teacher_never_speaks_of_one(tmp_path: Path):
    settings = short_run(tmp_path, **SFT)
    run_folder.prepare(settings)
    train(settings, ALONE, lambda metrics: None)
    lines = read_metrics(settings.run_folder)
    assert not any(name.startswith("pipeline/") for step in lines for name in step)
    assert "teacher" not in json.dumps(summarise(lines))
