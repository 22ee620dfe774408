"""Sequences and their padded batches: where completions stand, and padding told by the mask alone."""

import numpy as np
import pytest

from common.sequences import Sequence, pad

EOS = 7


def sequence(prompt: tuple[int, ...], completion: tuple[int, ...]) -> Sequence:
    return Sequence("s", prompt, completion, "dataset", "stop")


def test_padded_arrays():
    input_ids, mask = pad([sequence((1, 2), (3, EOS)), sequence((4,), (EOS,))], pad_id=EOS)
    assert input_ids.tolist() == [[1, 2, 3, EOS], [4, EOS, EOS, EOS]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_completions_stand_where_they_say():
    sequences = [sequence(tuple(range(n)), tuple(range(n, n + m))) for n, m in [(1, 5), (4, 1), (3, 3)]]
    input_ids, mask = pad(sequences, pad_id=0)
    for row, each in enumerate(sequences):
        assert tuple(input_ids[row, list(each.completion_positions)]) == each.completion_ids
        assert int(mask[row].sum()) == len(each)
    assert input_ids.dtype == np.int64


@pytest.mark.parametrize(("prompt", "completion"), [((), (1,)), ((1,), ())])
def test_an_empty_side_is_refused(prompt: tuple[int, ...], completion: tuple[int, ...]):
    with pytest.raises(ValueError, match="sequence s: prompt and completion"):
        sequence(prompt, completion)
