"""Packs: how a budget is filled, and that sequences end to end learn what they learn alone, on each attention."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import Lfm2Config, Lfm2ForCausalLM, MistralConfig, MistralForCausalLM
from transformers import modeling_flash_attention_utils as flash

from common.errors import UserError
from student_trainer.batching.packing import fill_packs
from student_trainer.batching.prefix_sharing import MergedTrace
from student_trainer.learning import attention
from student_trainer.learning.student import Student, load_student
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.learning.steps import (
    apart,
    assert_same,
    in_float64,
    learn,
    make_example,
    packed,
    random_ids,
    wake,
)
from tests.unit.student_trainer.stand_in import make_settings
from tests.unit.student_trainer.students import ALONE, student_settings

SHAPES = [(3, 4), (9, 2), (1, 1), (5, 7), (2, 6), (14, 5)]
EXAMPLES = [make_example(n, random_ids(n, p), random_ids(n + 50, t)) for n, (p, t) in enumerate(SHAPES)]


def lengths_of_packs(lengths: list[int], budget: int) -> list[list[int]]:
    traces = [MergedTrace([make_example(n, (1,) * (length - 1), (2,))]) for n, length in enumerate(lengths)]
    return [[len(trace) for trace in pack] for pack in fill_packs(traces, budget)]


def test_each_sequence_goes_into_the_first_pack_with_room():
    assert lengths_of_packs([9, 8, 5, 4, 3, 2, 2], budget=10) == [[9], [8, 2], [5, 4], [3, 2]]
    assert lengths_of_packs([10, 5, 5], budget=10) == [[10], [5, 5]]


def test_a_sequence_longer_than_the_budget_is_alone():
    assert lengths_of_packs([25, 12, 6, 3], budget=10) == [[25], [12], [6, 3]]


def test_packs_follow_from_the_examples_not_from_their_order():
    one, other = (packed(each, 20) for each in (EXAMPLES, EXAMPLES[::-1]))
    assert [batch.ids for batch in one] == [batch.ids for batch in other]
    assert sum(batch.tokens for batch in one) == sum(map(sum, SHAPES))
    assert all(batch.tokens == batch.input_ids.numel() <= 20 for batch in one)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("name", "cast", "tolerance"),
    [(attention.NAME, None, 1e-5), (attention.NAME, in_float64, 1e-12), ("sdpa", None, 1e-5), ("eager", None, 1e-5)],
)
def test_packed_equals_alone(
    tmp_path: Path, name: str, cast: Callable[[Student], Student] | None, tolerance: float, checkpointing: bool
):
    """This is what notices a version of transformers that no longer keeps sequences apart."""
    settings = student_settings(tmp_path / "student", gradient_checkpointing=checkpointing)
    student = wake(load_student(settings, ALONE.device, seed=0))
    if cast:
        cast(student)
    student.base.set_attn_implementation(name)
    expected = learn(student, apart(EXAMPLES), EXAMPLES)
    for budget in (20, 1000):
        packs = packed(EXAMPLES, budget)
        assert_same(learn(student, packs, EXAMPLES), expected, tolerance)
    unbounded = [replace(pack, attention_kwargs={}) for pack in packs]
    assert abs(learn(student, unbounded, EXAMPLES)[0] - expected[0]) > 1e-3 * expected[0]


class Kernel:
    """Flash attention's varlen function in plain torch: each sequence of [L, heads, size] by itself."""

    calls = 0

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
        max_seqlen_k: int, softmax_scale: float | None = None, causal: bool = False,
    ) -> Tensor:  # fmt: skip
        self.calls += 1
        bounds = cu_seqlens_q.tolist()
        assert cu_seqlens_q.dtype == torch.int32
        assert bounds == cu_seqlens_k.tolist()
        assert max_seqlen_q == max_seqlen_k == max(end - start for start, end in pairwise(bounds))
        parts = [
            torch.nn.functional.scaled_dot_product_attention(
                *(each[start:end].transpose(0, 1) for each in (q, k, v)),
                is_causal=causal, scale=softmax_scale, enable_gqa=True,
            ).transpose(0, 1)
            for start, end in pairwise(bounds)
        ]  # fmt: skip
        return torch.cat(parts)

    def as_torchs(self, *states: Any, **options: Any) -> Tensor:
        """The same under the arguments of torch's own function."""
        inspect.signature(varlen_attn).bind(*states, **options)
        assert options.pop("enable_gqa")
        assert options.pop("window_size") == (-1, 0)  # causal
        return self(*states, softmax_scale=options.pop("scale"), causal=True, **options)


@pytest.mark.parametrize("told", [True, False])
def test_flash_attention_gets_the_bounds_of_each_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool):
    """transformers' own path to the kernel, with a kernel in plain torch; `told` or from the position ids alone."""
    kernel = Kernel()
    monkeypatch.setattr(flash, "_lazy_imports", lambda *_, **__: (None, kernel, None, None, None))
    monkeypatch.setattr(flash, "_loaded_implementation", None)
    student = wake(load_student(student_settings(tmp_path / "student"), ALONE.device, seed=0))
    expected = learn(student, apart(EXAMPLES), EXAMPLES)
    student.base.config._attn_implementation_internal = "flash_attention_2"
    (pack,) = packed(EXAMPLES, 1000)
    if not told:
        pack = replace(pack, attention_kwargs={"position_ids": pack.attention_kwargs["position_ids"]})
    assert_same(learn(student, [pack], EXAMPLES), expected, 1e-5)
    assert kernel.calls == student.base.config.num_hidden_layers


def test_torchs_kernel_gets_the_bounds_of_each_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The path that a GPU takes in 16 bits, with a kernel in plain torch."""
    student = wake(load_student(student_settings(tmp_path / "student"), ALONE.device, seed=0))
    expected = learn(student, apart(EXAMPLES), EXAMPLES)
    kernel = Kernel()
    monkeypatch.setattr(attention, "varlen_attn", kernel.as_torchs)
    monkeypatch.setattr(attention, "_has_kernel", lambda states: True)
    (pack,) = packed(EXAMPLES, 1000)
    assert_same(learn(student, [pack], EXAMPLES), expected, 1e-5)
    assert kernel.calls == student.base.config.num_hidden_layers


def test_a_model_with_a_sliding_window_keeps_its_own_attention():
    sizes = {"vocab_size": 257, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    for window, expected in ((4, "sdpa"), (None, attention.NAME)):
        model = MistralForCausalLM(MistralConfig(sliding_window=window, **sizes, **heads))
        attention.attend_by_sequence(model)
        assert model.config._attn_implementation == expected


def test_a_model_that_mixes_positions_by_more_than_attention_is_not_packed():
    sizes = {"vocab_size": 257, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    attention.check_packable(MistralForCausalLM(MistralConfig(**sizes, **heads)))
    convolving = Lfm2ForCausalLM(Lfm2Config(**sizes, **heads, layer_types=["conv"]))
    with pytest.raises(UserError, match=r"Lfm2ForCausalLM mixes positions by more than attention \(conv\); set micro"):
        attention.check_packable(convolving)


def test_one_setting_cuts_micro_batches(tmp_path: Path):
    def cut(**given: int | None) -> tuple[int | None, int | None]:
        settings = make_settings(tmp_path, **given)
        assert TrainSettings.model_validate(settings.model_dump(mode="json")) == settings
        return settings.micro_batch_size, settings.micro_batch_tokens

    assert cut() == cut(micro_batch_tokens=None) == (4, None)
    assert cut(micro_batch_size=2) == (2, None)
    both: dict[str, Any] = {"micro_batch_size": None, "micro_batch_tokens": 64}
    assert cut(**both) == cut(micro_batch_tokens=64) == (None, 64)
    with pytest.raises(ValidationError, match=r"micro_batch_size 2 and micro_batch_tokens 64, expected one"):
        cut(micro_batch_size=2, micro_batch_tokens=64)
