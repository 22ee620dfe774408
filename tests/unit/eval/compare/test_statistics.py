"""Intervals against what is known of them: coverage, clusters, pairs; Holm against its paper's procedure."""

import numpy as np
import pytest

from eval.compare.statistics import Unit, estimate, holm, paired


def units(values: np.ndarray, tools: int, seeds: int = 1) -> dict[Unit, float]:
    return {
        Unit(number % seeds, f"task-{number}", f"tool-{number % tools}"): float(value)
        for number, value in enumerate(values)
    }


def test_with_a_tool_per_task_it_is_the_plain_bootstrap():
    values = np.random.default_rng(1).normal(0.3, 1, 400)
    found = estimate(units(values, tools=400))
    error = values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.interval == pytest.approx((found.mean - 1.96 * error, found.mean + 1.96 * error), abs=0.02)
    assert found.units == 400


def test_tasks_of_one_tool_that_go_together_count_as_one():
    alike = np.tile(np.random.default_rng(2).normal(0, 1, 8), 50)  # 8 tools, each with 50 equal tasks
    found = estimate(units(alike, tools=8))
    apart = estimate(units(alike, tools=400))
    assert found.interval is not None
    assert apart.interval is not None
    assert found.interval[1] - found.interval[0] > 4 * (apart.interval[1] - apart.interval[0])


def test_a_seed_that_stands_apart_widens_the_interval():
    values = np.array([1.0, 0.0, 0.0] * 40)  # seed 0 solves all, the others none
    found = estimate(units(values, tools=40, seeds=3))
    assert found.interval == (0.0, 1.0)


def test_one_cluster_gives_no_interval():
    assert estimate(units(np.array([1.0, 0.0]), tools=1)).interval is None


def test_p_is_small_only_where_the_interval_is_away_from_zero():
    noise = np.random.default_rng(3).normal(0, 1, 100)
    assert estimate(units(noise - noise.mean(), tools=100)).p > 0.9
    assert estimate(units(noise + 1, tools=100)).p < 0.001


def test_the_same_values_give_the_same_interval():
    values = units(np.random.default_rng(4).normal(0, 1, 60), tools=6, seeds=2)
    assert estimate(values) == estimate(values)


def test_pairs_are_made_by_seed_and_task():
    first = {Unit(1, "a", "t"): 1.0, Unit(1, "b", "t"): 1.0, Unit(2, "a", "t"): 0.0}
    second = {Unit(1, "a", "t"): 0.0, Unit(2, "a", "t"): 1.0, Unit(3, "a", "t"): 1.0}
    assert paired(first, second) == {Unit(1, "a", "t"): 1.0, Unit(2, "a", "t"): -1.0}


def test_holm_as_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
