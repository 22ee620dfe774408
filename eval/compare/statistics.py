"""How sure a figure is: bootstrap intervals over tools and seeds, and what a comparison comes to.

Outcomes of one tool, or of one seed, are alike, so both are drawn anew: seeds first, and of each its tools, with
replacement (two-stage cluster bootstrap; Davison and Hinkley, Bootstrap Methods, 3.8).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Unit:
    """What is counted once: a task under a seed. Two arms are compared on the same units."""

    seed: int
    task: str
    tool: str


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, which is None where all units are of one tool and seed."""

    mean: float
    interval: tuple[float, float] | None
    p: float
    """Of the mean being zero, two-sided."""
    units: int


def estimate(values: Mapping[Unit, float]) -> Estimate:
    """The mean of `values`, which must not be empty."""
    seeds: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for unit, value in values.items():
        seeds[unit.seed][unit.tool].append(value)
    mean = float(np.mean(list(values.values())))
    if sum(map(len, seeds.values())) < 2:
        return Estimate(mean, None, 1.0, len(values))
    means = _resampled_means([list(tools.values()) for tools in seeds.values()])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Estimate(mean, (float(low), float(high)), min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1)), len(values))


def paired(first: Mapping[Unit, float], second: Mapping[Unit, float]) -> dict[Unit, float]:
    """The differences on the units that both have."""
    return {unit: value - second[unit] for unit, value in first.items() if unit in second}


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for how many they are (Holm, 1979), in their order."""
    corrected, least = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = least
    return corrected


def _resampled_means(seeds: Sequence[Sequence[Iterable[float]]]) -> np.ndarray:
    """Means [RESAMPLES] of draws of `seeds`, and of each one's tools, whose values are given."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), RESAMPLES)
    totals, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for seed, tools in enumerate(seeds):
        lists = [list(tool) for tool in tools]
        times = rng.multinomial(drawn[:, seed] * len(lists), np.full(len(lists), 1 / len(lists)))
        totals += times @ np.array([sum(each) for each in lists])
        counts += times @ np.array([len(each) for each in lists])
    return totals / counts
