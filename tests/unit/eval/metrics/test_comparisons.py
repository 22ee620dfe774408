"""What a difference says, and how many looks at it are corrected for."""

import pytest

from eval.metrics.bootstrap import Interval
from eval.metrics.comparisons import holm, reading


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.3, "higher"),
        (0.01, 0.02, "higher"),
        (-0.3, -0.01, "lower"),
        (-0.05, 0.05, "no difference"),
        (-0.02, 0.0, "no difference"),
        (-0.051, 0.01, "undecided"),
        (-0.2, 0.2, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_no_difference_is_said_only_within_the_margin(low: float | None, high: float | None, said: str):
    assert reading(Interval(0.0, low, high, 100, 10)) == said


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.5, 0.4]) == pytest.approx([0.12, 0.004, 0.8, 0.8])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
