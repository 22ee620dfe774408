"""Batches: which hidden state predicts which token, which positions weigh, what padding and order must not change."""

from typing import Literal

import numpy as np
import pytest
import torch

from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.batching.batch import PAD_ID, Batch, Collator
from student_trainer.batching.targets import weights_of
from student_trainer.data.plan import Example, Key
from student_trainer.loss.targets import Weights

CPU = torch.device("cpu")
Writer = Literal["dataset", "teacher", "student"]


def make_example(
    name: str, prompt: tuple[int, ...], completion: tuple[int, ...], writer: Writer = "dataset"
) -> Example:
    """An example whose teacher answers hold the completion's ids times 10, so that mixed-up positions show."""
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


def in_pairs(examples: list[Example], distilling: bool = True) -> list[Batch]:
    return Collator(20, distilling, CPU, size=2).micro_batches(examples)


def test_the_hidden_state_before_a_token_predicts_it():
    (batch,) = in_pairs([LONG, SHORT])
    assert batch.ids == ["long", "short"]
    assert batch.input_ids.tolist() == [[4, 5, 6, 7, 8, 9], [1, 2, 3, 0, PAD_ID, PAD_ID]]
    assert batch.hidden_indices.tolist() == [2, 3, 4, 6 + 1, 6 + 2]
    assert batch.targets.token_ids.tolist() == [7, 8, 9, 3, 0]


def test_a_real_end_token_stays_a_target_though_padding_has_its_id():
    (batch,) = in_pairs([LONG, SHORT], distilling=False)
    assert SHORT.sequence.completion_ids[-1] == PAD_ID
    assert batch.targets.token_ids.tolist()[-1] == PAD_ID
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist()[1] == [1, 1, 1, 1, 0, 0]


def test_the_teachers_positions_follow_the_targets():
    (batch,) = in_pairs([SHORT, LONG])
    teacher = batch.targets.teacher
    assert teacher is not None
    targets = batch.targets.token_ids
    assert torch.equal(teacher.topk_ids, torch.stack([targets, targets + 1], 1))
    assert torch.equal(teacher.topk_logprobs, -10.0 * teacher.topk_ids)
    assert torch.equal(teacher.tail_logprob, -100.0 * targets)


def test_longest_first_in_batches_of_the_given_size():
    batches = in_pairs([SHORT, LONG, OWN])
    assert [batch.ids for batch in batches] == [["long", "own"], ["short"]]


def test_cross_entropy_never_weighs_what_the_student_wrote():
    (batch,) = in_pairs([OWN, SHORT])
    assert batch.ids == ["own", "short"]
    assert batch.targets.instruct_weights.tolist() == [0, 0, 0, 0, 1, 1]
    assert batch.targets.distill_weights.tolist() == [1] * 6
    assert weights_of([OWN, SHORT], distilling=True) == Weights(6, 2)
    assert weights_of([OWN, SHORT], distilling=False) == Weights(0, 2)


@pytest.mark.parametrize("distilling", [True, False])
@pytest.mark.parametrize("budget", [None, 8])
def test_without_examples_there_is_one_batch_of_no_weight(distilling: bool, budget: int | None):
    (batch,) = Collator(20, distilling, CPU, 4, budget).micro_batches([])
    assert bool(batch.attention_kwargs) == (batch.attention_mask is None) == (budget is not None)
    assert batch.targets.distill_weights.sum() == batch.targets.instruct_weights.sum() == 0
    assert len(batch.hidden_indices) == 1
    assert (batch.targets.teacher is not None) == distilling
    assert weights_of([], distilling) == Weights(0, 0)


def test_an_answer_about_other_tokens_is_refused():
    mixed_up = Example(SHORT.sequence, LONG.answer, Key(0, 0))
    with pytest.raises(ValueError, match="short"):
        in_pairs([mixed_up])
    with pytest.raises(ValueError, match="short"):
        in_pairs([Example(SHORT.sequence, None, Key(0, 0))])
