"""Sequences and their padded batches: only completions carry loss, and EOS stays where pad shares its id."""

import numpy as np
import pytest

from common.sequences import Sequence, pad

EOS = 7


def sequence(prompt: tuple[int, ...], completion: tuple[int, ...]) -> Sequence:
    return Sequence("s", prompt, completion, "dataset", "stop")


def test_padded_arrays():
    batch = pad([sequence((1, 2), (3, EOS)), sequence((4,), (EOS,))], pad_id=EOS)
    assert batch.input_ids.tolist() == [[1, 2, 3, EOS], [4, EOS, EOS, EOS]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.completion_mask.tolist() == [[False, False, True, True], [False, True, False, False]]


def test_a_real_eos_is_a_target_where_pad_is_eos():
    batch = pad([sequence((4,), (EOS,)), sequence((1, 2), (3, EOS))], pad_id=EOS)
    assert batch.input_ids[batch.completion_mask].tolist() == [EOS, 3, EOS]
    assert not batch.completion_mask[batch.attention_mask == 0].any()


def test_the_mask_covers_completions_alone():
    sequences = [sequence(tuple(range(n)), tuple(range(n, n + m))) for n, m in [(1, 5), (4, 1), (3, 3)]]
    batch = pad(sequences, pad_id=0)
    for row, each in enumerate(sequences):
        assert tuple(batch.input_ids[row, batch.completion_mask[row]]) == each.completion_ids
        assert int(batch.attention_mask[row].sum()) == len(each)
    assert batch.input_ids.dtype == np.int64


@pytest.mark.parametrize(("prompt", "completion"), [((), (1,)), ((1,), ())])
def test_an_empty_side_is_refused(prompt: tuple[int, ...], completion: tuple[int, ...]):
    with pytest.raises(ValueError, match="sequence s: prompt and completion"):
        sequence(prompt, completion)
