"""Bootstrap intervals: they cover what they say on simulated tasks, and never make up certainty."""

from collections.abc import Iterable

import numpy as np
import pytest

from eval.metrics import bootstrap
from eval.metrics.bootstrap import DIFFERENCES, SHARES, Bounds, Difference, Interval, Measured, difference, interval

SIMULATIONS = 400
TRUTH = 0.5


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


def sample(values: Iterable[float], cluster: str = "") -> list[Measured]:
    """A task for each value, in a cluster of its own unless one is named."""
    return [Measured(str(number), cluster or str(number), value) for number, value in enumerate(values)]


def interval_of(tasks: list[Measured], bounds: Bounds | None = SHARES, seed: int = 0) -> Interval:
    found = interval(tasks, bounds, seed)
    assert found is not None
    return found


def difference_of(first: list[Measured], second: list[Measured], seed: int = 0) -> Difference:
    found = difference(first, second, DIFFERENCES, seed)
    assert found is not None
    return found


def ends(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def covers(found: Interval, truth: float) -> bool:
    low, high = ends(found)
    return low <= truth <= high


def drawn(seed: int, tools: int, tasks: int, spread: float, clustered: bool) -> list[Measured]:
    """Tasks of tools that differ in how hard they are, solved or not: in truth half of them."""
    rng = np.random.default_rng(seed)
    chances = [np.clip(TRUTH + rng.normal(0, spread), 0, 1) for _ in range(tools)]
    return [
        Measured(f"{tool}/{task}", str(tool) if clustered else f"{tool}/{task}", float(rng.random() < chance))
        for tool, chance in enumerate(chances)
        for task in range(tasks)
    ]


def coverage(tools: int, tasks: int, spread: float, clustered: bool = True) -> float:
    samples = {seed: drawn(seed, tools, tasks, spread, clustered) for seed in range(SIMULATIONS)}
    return sum(covers(interval_of(each, seed=seed), TRUTH) for seed, each in samples.items()) / SIMULATIONS


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(("tools", "tasks", "spread"), [(8, 10, 0.25), (15, 4, 0.2), (40, 2, 0.0)])
def test_intervals_cover_the_truth_as_often_as_they_say(tools: int, tasks: int, spread: float):
    assert 0.92 <= coverage(tools, tasks, spread) <= 0.975


@pytest.mark.usefixtures("few_resamples")
def test_clusters_matter_where_tasks_of_a_tool_stand_or_fall_together():
    assert coverage(8, 10, 0.25, clustered=False) < 0.85


@pytest.mark.usefixtures("few_resamples")
def test_differences_cover_the_truth_and_pairing_narrows_them():
    """Tasks differ much and the models little: the first solves a tenth more of each."""

    def drawn_pair(seed: int) -> tuple[list[Measured], list[Measured]]:
        rng = np.random.default_rng(seed)
        chances, luck = rng.random(40), rng.random(40)
        return sample(map(float, luck < chances * 0.8 + 0.1)), sample(map(float, luck < chances * 0.8))

    pairs = [drawn_pair(seed) for seed in range(SIMULATIONS)]
    found = [difference_of(*pair, seed=seed).interval for seed, pair in enumerate(pairs)]
    assert 0.92 <= sum(covers(each, 0.1) for each in found) / SIMULATIONS <= 0.985
    first, second = (ends(interval_of(each)) for each in pairs[0])
    low, high = ends(found[0])
    assert high - low < (first[1] - second[0]) / 2


@pytest.mark.usefixtures("few_resamples")
def test_worlds_are_resampled_with_their_clusters():
    """Ten worlds that differ: tasks as if of one world cover too seldom, tasks in their worlds as they should."""

    def drawn_worlds(seed: int, known: bool) -> list[Measured]:
        rng = np.random.default_rng(seed)
        shifts = rng.normal(0, 0.2, 10)
        return [
            Measured(
                f"{world}/{tool}", f"{world}/{tool}", float(rng.random() < chance), 1.0, str(world) if known else ""
            )
            for world, shift in enumerate(shifts)
            for tool, chance in enumerate(np.clip(TRUTH + shift + rng.normal(0, 0.1, 8), 0, 1))
        ]

    def share_covered(known: bool) -> float:
        samples = {seed: drawn_worlds(seed, known) for seed in range(SIMULATIONS)}
        return sum(covers(interval_of(each, seed=seed), TRUTH) for seed, each in samples.items()) / SIMULATIONS

    assert 0.92 <= share_covered(known=True) <= 0.975
    assert share_covered(known=False) < 0.88


def test_the_estimate_is_the_ratio_of_the_sums():
    found = interval_of([Measured("a", "x", 3.0, 3), Measured("b", "x", 5.0, 1), Measured("c", "y", 2.0, 1)], None)
    assert (found.estimate, found.tasks, found.clusters) == (2.0, 3, 2)


def test_the_same_seed_gives_the_same_ends_and_another_other_ones():
    tasks = sample([0.0, 1.0, 1.0, 0.0, 1.0] * 4)
    assert interval(tasks) == interval(list(tasks))
    assert interval(tasks) == interval(tasks[::-1])
    assert interval(tasks, seed=0) != interval(tasks, seed=1)


def test_one_cluster_tells_nothing_and_no_weight_is_no_figure():
    alone = interval_of(sample([1.0, 0.0, 1.0], cluster="x"))
    assert (alone.low, alone.high) == (None, None)
    assert difference_of(sample([1.0], "x"), sample([0.0], "x")).p is None
    assert interval([]) is None
    assert interval([Measured("a", "a", 0.0, 0.0)]) is None
    assert difference(sample([1.0]), [Measured("0", "0", 0.0, 0.0)]) is None


def test_where_all_agree_the_interval_is_no_point():
    """20 of 20: of a share of 0.8316, all of 20 come out in 2.5 % of samples."""
    assert ends(interval_of(sample([1.0] * 20))) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert ends(interval_of(sample([0.0] * 20))) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    same = difference_of(sample([1.0, 0.0] * 3), sample([1.0, 0.0] * 3))
    assert ends(same.interval) == pytest.approx((-(1 - 0.025 ** (1 / 6)), 1 - 0.025 ** (1 / 6)))
    assert same.p == pytest.approx(1)


def test_only_tasks_of_both_are_compared():
    first = [*sample([1.0] * 10), Measured("alone", "alone", 0.0)]
    second = [*sample([0.0] * 9 + [1.0]), Measured("other", "other", 1.0)]
    found = difference_of(first, second)
    assert (found.interval.estimate, found.interval.tasks) == (0.9, 10)
    assert (found.p or 1) < 0.01
    assert difference_of(second, first).interval.estimate == -0.9
    assert difference(sample([1.0]), [Measured("x", "x", 1.0)]) is None


def test_a_measure_that_does_not_apply_to_a_system_counts_for_the_other_one():
    """Of three tasks the second system answers one: its own share is of that one."""
    second = [Measured("0", "0", 1.0), Measured("1", "1", 0.0, 0.0), Measured("2", "2", 0.0, 0.0)]
    assert difference_of(sample([1.0, 0.0, 0.0]), second).interval.estimate == pytest.approx(1 / 3 - 1)


def test_p_is_small_only_where_the_interval_leaves_zero_out():
    rng = np.random.default_rng(5)
    for shift in (0.0, 0.05, 0.1, 0.2, 0.4):
        solved = rng.random(80) < 0.4 + shift
        found = difference_of(sample(map(float, solved)), sample(map(float, rng.random(80) < 0.4)))
        assert found.p is not None
        if abs(found.p - 0.05) > 0.01:
            assert (found.p < 0.05) == (ends(found.interval)[0] > 0)


def test_students_distribution_is_the_known_one():
    angles, below = bootstrap._student(4)
    for tail, t in ((0.975, 2.776), (0.95, 2.132)):
        assert 2 * np.tan(np.interp(tail, below, angles)) == pytest.approx(t, abs=1e-3)
    assert bootstrap._expanded(0.025, 100_000) == pytest.approx(0.025, abs=1e-4)
