"""Two models compared on the same tasks: what the interval of their difference says, corrected for looking often."""

from collections.abc import Sequence
from typing import Literal

from eval.metrics.bootstrap import Interval

MARGIN = 0.05
"""Differences of shares up to so much, five points, count as none."""
Reading = Literal["higher", "lower", "no difference", "undecided"]


def reading(difference: Interval, margin: float = MARGIN) -> Reading:
    """What the interval of a difference says.

    `higher` or `lower` where it lies on one side of 0; `no difference` where it holds 0 and lies within ± `margin`;
    else `undecided`: that no difference was found is no sign that there is none.
    """
    if difference.low is None or difference.high is None:
        return "undecided"
    if difference.low > 0:
        return "higher"
    if difference.high < 0:
        return "lower"
    return "no difference" if -margin <= difference.low and difference.high <= margin else "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one family of comparisons, corrected for their number, in the same order.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
