"""The mass that two models share: by hand, and as what is known of it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.quality.overlap import overlap, position_overlaps
from tests.unit.common.quality.answers import answer_of

weights = arrays(np.float64, (3, 6), elements=st.floats(0.01, 1))


def test_by_hand():
    """Top 2 of four ids: the first position shares id 1, the second nothing."""
    one = answer_of(np.array([[0.6, 0.3, 0.1, 0.0], [0.5, 0.4, 0.1, 0.0]]), [0, 0], k=2)
    other = answer_of(np.array([[0.1, 0.4, 0.5, 0.0], [0.0, 0.1, 0.4, 0.5]]), [0, 1], k=2)
    assert position_overlaps(one, other) == pytest.approx([0.3, 0.0])
    assert overlap([(one, other), (one, one)]) == pytest.approx((0.3 + 0 + 0.9 + 0.9) / 4, abs=1e-6)


@given(weights, weights)
def test_with_all_ids_it_is_one_less_the_total_variation(one: np.ndarray, other: np.ndarray):
    p, q = one / one.sum(axis=1, keepdims=True), other / other.sum(axis=1, keepdims=True)
    got = position_overlaps(answer_of(p, [0, 1, 2], k=6), answer_of(q, [0, 1, 2], k=6))
    assert got == pytest.approx(1 - np.abs(p - q).sum(axis=1) / 2, abs=1e-5)


@given(weights, weights)
def test_it_is_the_same_from_either_side_and_grows_with_k(one: np.ndarray, other: np.ndarray):
    p, q = one / one.sum(axis=1, keepdims=True), other / other.sum(axis=1, keepdims=True)
    found = []
    for k in range(1, 7):
        a, b = answer_of(p, [0, 1, 2], k), answer_of(q, [0, 1, 2], k)
        assert position_overlaps(a, b) == pytest.approx(position_overlaps(b, a))
        found.append(overlap([(a, b)]))
    assert found == sorted(found)
