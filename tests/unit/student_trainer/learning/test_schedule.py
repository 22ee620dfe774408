"""The optimizer's course: warm-up, then the chosen schedule to the last step; gradients no longer than allowed."""

from pathlib import Path

import pytest
import torch
from torch.nn.utils import get_total_norm

from student_trainer.learning.step import make_learner, train_step
from tests.unit.student_trainer.learning.test_checks import example, step_of
from tests.unit.student_trainer.students import ALONE, short_run


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.0, 0.5, 1.0, 0.8535533905932737, 0.5, 0.1464466094067263, 0.0]),
        ("linear", [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_rate_rises_over_a_third_of_six_steps_and_takes_its_course(
    tmp_path: Path, schedule: str, expected: list[float]
):
    optimizer = {"learning_rate": 2.0, "schedule": schedule, "warmup_fraction": 1 / 3}
    learner = make_learner(short_run(tmp_path, optimizer=optimizer), 6, ALONE)
    rates = []
    for _ in expected:
        rates += learner.schedule.get_last_lr()
        learner.optimizer.step()
        learner.schedule.step()
    assert rates == pytest.approx([2 * each for each in expected])


@pytest.mark.parametrize("limit", [0.01, 1e3])
def test_a_gradient_is_cut_to_the_largest_norm_allowed(tmp_path: Path, limit: float):
    settings = short_run(tmp_path, optimizer={"max_grad_norm": limit})
    learner = make_learner(settings, 6, ALONE)
    norm = train_step(learner, step_of(example("a"), example("bb")), settings, ALONE)["optim/grad_norm"]
    left = get_total_norm([each.grad for each in learner.student.trainable() if each.grad is not None])
    assert norm > 0.01
    assert left == pytest.approx(min(norm, limit), rel=1e-3)
    assert torch.isfinite(left)
