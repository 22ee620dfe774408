"""From flat logprobs to arrays, against a row-by-row loop; and the tail where float32 runs out of digits.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from teacher_server.vllm.completion_logprobs import TAIL_FLOOR, from_flat, tail_logprob
from teacher_server.vllm.rounding import rounded

V = 12


def flat_rows(rows: int, k: int, seed: int = 0) -> tuple[SimpleNamespace, np.ndarray]:
    """Logprobs laid out as vLLM's FlatLogprobs lays them out (an empty first row, as prompts have), and [rows, V]."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (rows, V))
    exact = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    flat = SimpleNamespace(start_indices=[0], end_indices=[0], token_ids=[], logprobs=[])
    for row in exact:
        actual = int(generator.integers(V))
        ids = [actual, *np.argsort(-row)[:k].tolist()]
        flat.start_indices.append(len(flat.token_ids))
        flat.token_ids += ids
        flat.logprobs += row[ids].astype(np.float32).tolist()
        flat.end_indices.append(len(flat.token_ids))
    return flat, exact


@pytest.mark.parametrize("k", [1, 5, V])
@pytest.mark.parametrize("first", [1, 4])
def test_each_row_is_its_positions(k: int, first: int):
    flat, exact = flat_rows(7, k)
    positions = from_flat(flat, first, k, V, "scored", "r")
    expected = exact[first - 1 :]
    assert positions.topk_ids.shape == positions.topk_logprobs.shape == (len(expected), k)
    for t, row in enumerate(expected):
        start = flat.start_indices[first + t]
        assert positions.token_ids[t] == flat.token_ids[start]
        assert positions.token_logprobs[t] == np.float32(row[flat.token_ids[start]])
        assert positions.topk_ids[t].tolist() == np.argsort(-row)[:k].tolist()
        np.testing.assert_array_equal(positions.topk_logprobs[t], np.sort(row)[::-1][:k].astype(np.float32))
        left = np.exp(np.sort(row)[: V - k]).sum()
        np.testing.assert_allclose(np.exp(positions.tail_logprob[t]), left, atol=2e-7)


def test_rows_of_another_width_are_no_answer():
    flat, _ = flat_rows(3, 4)
    with pytest.raises(ValueError, match="got 15 entries for 3 rows, expected 6"):
        from_flat(flat, 1, 5, V, "scored", "r")


def test_the_whole_vocabulary_has_no_tail():
    assert np.isneginf(tail_logprob(np.log(np.full((2, V), 1 / V, np.float32)), V)).all()


def test_a_tail_below_float32_is_bounded_by_the_last_entry():
    top = np.array([[0.0, -40.0, -50.0]], np.float32)
    assert tail_logprob(top, V)[0] == pytest.approx(np.log(V - 3) - 50, rel=1e-6)


def test_a_negative_remainder_keeps_a_floor():
    above_one = np.log(np.array([[0.6, 0.4 + 3e-7]], np.float32))
    assert tail_logprob(above_one, V)[0] == pytest.approx(np.log(TAIL_FLOOR), rel=1e-6)


@pytest.mark.parametrize("tail", [1e-1, 1e-3, 1e-5])
def test_the_tail_is_known_to_the_precision_of_its_entries(tail: float):
    entries = np.log(np.array([[1 - tail - tail / 2, tail / 2]], np.float32))
    assert abs(np.exp(float(tail_logprob(entries, V)[0])) - tail) < 2e-7


def test_the_tail_beside_a_first_entry_near_one_keeps_its_digits():
    first = -1e-6
    rest = -np.expm1(np.float64(np.float32(first)))
    entries = np.array([[first, np.log(rest / 4)]], np.float32)
    assert np.exp(float(tail_logprob(entries, V)[0])) == pytest.approx(rest * 3 / 4, rel=1e-5)


def test_rounding_is_numpys_own():
    values = np.array([[0, -1e-8, -6e-5, -0.1, -9.87654, -65519, -65521, -np.inf]], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(rounded(values, "float16"), values.astype(np.float16))
    assert rounded(values, "float16").dtype == np.float16
    assert rounded(values, "float32") is values
