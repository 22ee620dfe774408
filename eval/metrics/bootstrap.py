"""Bootstrap intervals of shares and means, and of their differences: clustered, paired by task, seeded.

Every figure here is a ratio, Σ value / Σ weight over tasks. Resampled are *clusters* of tasks (Davison and Hinkley,
"Bootstrap Methods and their Application", 1997, section 3.8), since tasks on one tool stand or fall together; where the
tasks are of several worlds, first the worlds and then the clusters of each. Two models are compared on the same
resampled tasks, so that what makes a task hard for both cancels out.

Intervals are *expanded percentile* intervals (Hesterberg, "What Teachers Should Know about the Bootstrap", 2014,
arXiv:1411.5279): percentiles at levels that widen as Student's t does with C clusters, since plain percentiles are too
narrow where these are few. BCa isn't used: for means of small samples it covers less than it says. With 2 or 3 worlds
the spread between worlds is all but unknown, and no interval can make up for that.

Legend: C = clusters, K = systems (1, or the 2 that are compared), B = resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4_000
LEVEL = 0.95
SHARES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)
"""Bounds of shares and of their differences."""
Bounds = tuple[float, float]
Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """What one task brought: `value` counts `weight` times, such as a loss summed over so many tokens."""

    task: str
    """Which task it is, the same for all systems; a task may come several times."""
    cluster: str
    """What the task shares its fate with, such as its tool."""
    value: float
    weight: float = 1.0
    """0 where the measure doesn't apply to the task; its value is then 0 too."""
    world: str = ""
    """Of which world it is, such as its seed."""


@dataclass(frozen=True)
class Interval:
    """An estimate, and the ends of its 95 % interval; None where fewer than two clusters can't tell."""

    estimate: float
    low: float | None
    high: float | None
    tasks: int
    clusters: int


@dataclass(frozen=True)
class Difference:
    """By how much the first system's figure is above the second one's on the tasks of both."""

    interval: Interval
    p: float | None
    """Two-sided: the share of error at which the interval would end at 0. None where there is no interval."""


@dataclass(frozen=True)
class _Sums:
    """Values and weights summed by cluster, [C, K] each; how many clusters each world has, and tasks of all."""

    values: Floats
    weights: Floats
    worlds: list[int]
    tasks: int


def interval(sample: Sequence[Measured], bounds: Bounds | None = None, seed: int = 0) -> Interval | None:
    """The ratio over `sample` with its interval; None where no task has a weight.

    `bounds` are given for shares: where all tasks agree, nothing varies in any resample, and the interval is the exact
    one of a share of C clusters (Clopper and Pearson, 1934) instead of a point.
    """
    found = _resample([sample], seed)
    return _interval(*found, bounds) if found else None


def difference(
    first: Sequence[Measured], second: Sequence[Measured], bounds: Bounds | None = None, seed: int = 0
) -> Difference | None:
    """The first ratio less the second one, on the tasks of both; None where there is none.

    A task that comes several times for a system counts once for each; `bounds` as for `interval`.
    """
    shared = {each.task for each in first} & {each.task for each in second}
    paired = [[each for each in sample if each.task in shared] for sample in (first, second)]
    found = _resample(paired, seed)
    if found is None:
        return None
    between = _interval(*found, bounds)
    sums, _, resampled = found
    return Difference(between, _p(resampled, len(sums.values)) if between.low is not None else None)


def _resample(samples: Sequence[Sequence[Measured]], seed: int) -> tuple[_Sums, float, Floats] | None:
    """The sums, the estimate, and the estimates [B] of resamples; None where a system's weights are all 0."""
    sums = _sum_up(samples)
    if not sums.weights.sum(0).all():
        return None
    estimate = float(_figure(sums, np.ones((1, len(sums.values))))[0])
    return sums, estimate, _figure(sums, _draw(seed, tuple(sums.worlds), RESAMPLES))


def _sum_up(samples: Sequence[Sequence[Measured]]) -> _Sums:
    """Clusters that have no weight at all tell nothing, and are none."""
    rows = [(system, each) for system, sample in enumerate(samples) for each in sample if each.weight]
    keys = sorted({(each.world, each.cluster) for _, each in rows})
    places = {key: place for place, key in enumerate(keys)}
    values, weights = np.zeros((len(keys), len(samples))), np.zeros((len(keys), len(samples)))
    for system, each in rows:
        place = places[each.world, each.cluster], system
        values[place] += each.value
        weights[place] += each.weight
    worlds = [world for world, _ in keys]
    tasks = len({(each.world, each.task) for _, each in rows})
    return _Sums(values, weights, [worlds.count(world) for world in dict.fromkeys(worlds)], tasks)


@lru_cache(maxsize=2)
def _draw(seed: int, worlds: tuple[int, ...], count: int) -> Floats:
    """How often each cluster stands in each of `count` resamples, [count, C]: the same for all measures of a sample."""
    rng = np.random.default_rng(seed)
    copies = rng.multinomial(len(worlds), np.full(len(worlds), 1 / len(worlds)), count)
    drawn = [rng.multinomial(copies[:, place] * size, np.full(size, 1 / size)) for place, size in enumerate(worlds)]
    return np.concatenate(drawn, 1).astype(np.float64)


def _figure(sums: _Sums, counts: Floats) -> Floats:
    """The ratio, or the difference of two, in each resample; not a number where one has no weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (counts @ sums.values) / (counts @ sums.weights)
    return np.asarray(ratios[:, 0] - ratios[:, 1] if ratios.shape[1] == 2 else ratios[:, 0])


def _interval(sums: _Sums, estimate: float, resampled: Floats, bounds: Bounds | None) -> Interval:
    clusters = len(sums.values)
    low, high = _ends(estimate, resampled[np.isfinite(resampled)], clusters, bounds)
    return Interval(estimate, low, high, sums.tasks, clusters)


def _ends(
    estimate: float, resampled: Floats, clusters: int, bounds: Bounds | None
) -> tuple[float | None, float | None]:
    if clusters < 2:
        return None, None
    if bounds and np.ptp(resampled) < 1e-12:
        width = 1 - ((1 - LEVEL) / 2) ** (1 / clusters)
        return max(bounds[0], estimate - width), min(bounds[1], estimate + width)
    tail = _expanded((1 - LEVEL) / 2, clusters)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _p(resampled: Floats, clusters: int) -> float:
    finite = resampled[np.isfinite(resampled)]
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    z = NormalDist().inv_cdf(min(0.5, (beyond + 1) / (len(finite) + 1)))
    angles, below = _student(clusters - 1)
    angle = np.arctan(z * np.sqrt((clusters - 1) / clusters) / np.sqrt(clusters - 1))
    return float(min(1.0, 2 * np.interp(angle, angles, below)))


def _expanded(tail: float, clusters: int) -> float:
    """The level at which a bootstrap percentile reaches as far as Student's t does at `tail`."""
    angles, below = _student(clusters - 1)
    t = np.sqrt(clusters - 1) * np.tan(np.interp(tail, below, angles))
    return NormalDist().cdf(float(t) * float(np.sqrt(clusters / (clusters - 1))))


@lru_cache(maxsize=64)
def _student(freedom: int) -> tuple[Floats, Floats]:
    """Student's distribution: angles whose tangent is t / √freedom, and the probability below each.

    In that angle its density is cosine to the power of `freedom` - 1.
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angles, below / below[-1]
