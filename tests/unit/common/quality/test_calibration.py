"""Calibration: by hand, and against the definition written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quality.calibration import calibration_error, expected_calibration_error
from tests.unit.common.quality.answers import answer_of

positions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def written_out(confidences: list[float], right: list[bool], bins: int) -> float:
    """Each bin (b / bins, (b + 1) / bins], the first closed below too."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [at for at, sure in enumerate(confidences) if low < sure <= high or (number == 0 and sure == 0)]
        if inside:
            accuracy = sum(right[at] for at in inside) / len(inside)
            confidence = sum(confidences[at] for at in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@given(positions)
def test_it_is_what_its_definition_says(found: list[tuple[float, bool]]):
    confidences, right = [sure for sure, _ in found], [hit for _, hit in found]
    got = expected_calibration_error(np.array(confidences), np.array(right), bins=8)  # eighths are exact
    assert got == pytest.approx(written_out(confidences, right, 8), abs=1e-9)


def test_who_is_right_as_often_as_sure_has_none():
    sure = np.full(10, 0.7)
    assert expected_calibration_error(sure, np.arange(10) < 7) == pytest.approx(0)
    assert expected_calibration_error(sure, np.arange(10) < 2) == pytest.approx(0.5)


def test_too_sure_here_and_too_unsure_there_do_not_cancel():
    sure = np.array([0.9, 0.9, 0.1, 0.1])
    assert expected_calibration_error(sure, np.array([False, True, True, False])) == pytest.approx(0.4)


def test_the_most_likely_token_is_what_counts():
    """Two positions at 0.8: the recorded token is the most likely one of the first alone."""
    distributions = np.array([[0.8, 0.2, 0.0], [0.8, 0.2, 0.0]])
    assert calibration_error([answer_of(distributions, [0, 1], k=2)]) == pytest.approx(0.3, abs=1e-6)
    assert calibration_error([answer_of(distributions[:1], [0], k=1)] * 4) == pytest.approx(0.2, abs=1e-6)
