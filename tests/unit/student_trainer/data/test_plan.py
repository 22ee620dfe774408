"""Plans: who takes which positions at which step."""

import pytest

from student_trainer.data.plan import StepPlan, plan_steps, steps_per_epoch


def test_plans_of_one_worker():
    plans = list(plan_steps(rows=5, batch_size=2, epochs=2, max_steps=None, rank=0, world=1))
    assert plans == [
        StepPlan(1, 0, range(0, 2)), StepPlan(2, 0, range(2, 4)), StepPlan(3, 0, range(4, 5)),
        StepPlan(4, 1, range(0, 2)), StepPlan(5, 1, range(2, 4)), StepPlan(6, 1, range(4, 5)),
    ]  # fmt: skip


@pytest.mark.parametrize("done", range(7))
def test_plans_after_a_restart_are_the_rest(done: int):
    whole = list(plan_steps(5, 2, 2, None, 0, 1))
    assert list(plan_steps(5, 2, 2, None, 0, 1, done)) == whole[done:]


def test_max_steps_stops_inside_an_epoch():
    assert [plan.step for plan in plan_steps(10, 2, 3, 7, 0, 1)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_partition_each_step_even_when_some_get_nothing(world: int):
    steps = list(zip(*(plan_steps(7, 3, 1, None, rank, world) for rank in range(world)), strict=True))
    assert len(steps) == steps_per_epoch(7, 3) == 3
    taken = [position for step in steps for plan in step for position in plan.indices]
    assert taken == list(range(7))
