"""Batches: which hidden row predicts which token, which positions weigh, and what padding and order must not change."""

from typing import Literal

import numpy as np
import pytest
import torch

from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.batching.batch import PAD_ID, micro_batches, weights_of
from student_trainer.data.plan import Example, Key
from student_trainer.loss.loss import Weights

CPU = torch.device("cpu")
Writer = Literal["dataset", "teacher", "student"]


def make_example(
    name: str, prompt: tuple[int, ...], completion: tuple[int, ...], writer: Writer = "dataset"
) -> Example:
    """An example whose teacher answers hold the completion's ids times 10, so that mixed-up rows show."""
    ids = np.array(completion, np.int32)
    topk = np.stack([ids, ids + 1], 1)
    answer = TeacherAnswer(
        name, "m", "r", "scored", None, ids, -ids.astype(np.float32), topk, -10.0 * topk.astype(np.float16),
        -100 * ids.astype(np.float32),
    )  # fmt: skip
    return Example(Sequence(name, prompt, completion, writer, "stop"), answer, Key(0, 0))


SHORT = make_example("short", (1, 2), (3, 0))
LONG = make_example("long", (4, 5, 6), (7, 8, 9), "teacher")
OWN = make_example("own", (1,), (2, 3, 4, 5), "student")


def test_the_row_before_a_token_predicts_it():
    (batch,) = micro_batches([LONG, SHORT], 2, True, CPU)
    assert batch.ids == ["long", "short"]
    assert batch.input_ids.tolist() == [[4, 5, 6, 7, 8, 9], [1, 2, 3, 0, PAD_ID, PAD_ID]]
    assert batch.rows.tolist() == [2, 3, 4, 6 + 1, 6 + 2]
    assert batch.targets.token_ids.tolist() == [7, 8, 9, 3, 0]


def test_a_real_end_token_stays_a_target_though_padding_has_its_id():
    (batch,) = micro_batches([LONG, SHORT], 2, False, CPU)
    assert SHORT.sequence.completion_ids[-1] == PAD_ID
    assert batch.targets.token_ids.tolist()[-1] == PAD_ID
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist()[1] == [1, 1, 1, 1, 0, 0]


def test_the_teachers_rows_follow_the_targets():
    (batch,) = micro_batches([SHORT, LONG], 2, True, CPU)
    teacher = batch.targets.teacher
    assert teacher is not None
    targets = batch.targets.token_ids
    assert torch.equal(teacher.topk_ids, torch.stack([targets, targets + 1], 1))
    assert torch.equal(teacher.topk_logprobs, -10.0 * teacher.topk_ids)
    assert torch.equal(teacher.tail_logprob, -100.0 * targets)


def test_longest_first_in_batches_of_the_given_size():
    batches = micro_batches([SHORT, LONG, OWN], 2, False, CPU)
    assert [batch.ids for batch in batches] == [["long", "own"], ["short"]]


def test_cross_entropy_never_weighs_what_the_student_wrote():
    (batch,) = micro_batches([OWN, SHORT], 2, True, CPU)
    assert batch.ids == ["own", "short"]
    assert batch.targets.instruct_weights.tolist() == [0, 0, 0, 0, 1, 1]
    assert batch.targets.distill_weights.tolist() == [1] * 6
    assert weights_of([OWN, SHORT], distilling=True) == Weights(6, 2)
    assert weights_of([OWN, SHORT], distilling=False) == Weights(0, 2)


@pytest.mark.parametrize("distilling", [True, False])
@pytest.mark.parametrize("budget", [None, 8])
def test_without_examples_there_is_one_batch_of_no_weight(distilling: bool, budget: int | None):
    (batch,) = micro_batches([], 4, distilling, CPU, budget)
    assert bool(batch.apart) == (batch.attention_mask is None) == (budget is not None)
    assert batch.targets.distill_weights.sum() == batch.targets.instruct_weights.sum() == 0
    assert len(batch.rows) == 1
    assert (batch.targets.teacher is not None) == distilling
    assert weights_of([], distilling) == Weights(0, 0)


def test_an_answer_about_other_tokens_is_refused():
    mixed_up = Example(SHORT.sequence, LONG.answer, Key(0, 0))
    with pytest.raises(ValueError, match="short"):
        micro_batches([mixed_up], 1, True, CPU)
    with pytest.raises(ValueError, match="short"):
        micro_batches([Example(SHORT.sequence, None, Key(0, 0))], 1, True, CPU)
