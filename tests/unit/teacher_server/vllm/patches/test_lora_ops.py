"""vLLM's operators for adapters on a CPU, where tokens of the base and of adapters share a batch.

Legend: n = tokens, r = rank, i, o = input and output widths, -1 = no adapter.
"""

import inspect
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm.lora.layers import LoRAMapping
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

from teacher_server.vllm.patches import compat
from teacher_server.vllm.patches import lora_ops as patch
from teacher_server.vllm.patches.compat import LORA_OPERATORS

SLOTS, RANK, WIDTHS = 3, 2, (4, 3)
INPUT, OUTPUT = 5, sum(WIDTHS)
FIRST = torch.randn(SLOTS, 1, RANK, INPUT, generator=torch.Generator().manual_seed(0))
SECONDS = tuple(torch.randn(SLOTS, 1, o, RANK, generator=torch.Generator().manual_seed(o)) for o in WIDTHS)
"""[SLOTS, 1, r, i], and per slice of the output [SLOTS, 1, o, r]."""
SCALE = 0.5
MIXED = [0, -1, 2, -1, -1, 1, 1]


@pytest.fixture
def vllms_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM as it is installed, whatever this process ran before; what a test replaces is put back."""
    for module in patch.CALLERS:
        for name in LORA_OPERATORS:
            monkeypatch.setitem(vars(module), name, inspect.unwrap(getattr(module, name)))


def draw_inputs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [n, i], and what is in the outputs [n, o] before."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, INPUT, generator=generator), torch.randn(count, OUTPUT, generator=generator)


def expected(inputs: torch.Tensor, before: torch.Tensor, slots: list[int]) -> torch.Tensor:
    """Token by token, what LoRA is."""
    rows = []
    for x, y, slot in zip(inputs, before, slots, strict=True):
        change = [SCALE * second[slot, 0] @ (FIRST[slot, 0] @ x) for second in SECONDS]
        rows.append(y if slot < 0 else y + torch.cat(change))
    return torch.stack(rows)


def layer(slots: list[int], prefill: bool) -> torch.Tensor:
    """What a layer of two slices gives, through vLLM's own code around the operators."""
    wrapper = punica_cpu.PunicaWrapperCPU(64, 64, "cpu")
    ids = tuple(slot + 1 for slot in slots)
    wrapper.update_metadata(LoRAMapping(ids, ids, is_prefill=prefill), list(range(1, SLOTS + 1)), SLOTS, 10)
    inputs, outputs = draw_inputs(len(slots))
    wrapper.add_lora_linear(outputs, inputs, (FIRST,) * 2, SECONDS, SCALE, WIDTHS)
    return outputs


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize("slots", [MIXED, [1, 1, 1], [-1, -1], [-1], [2], [0, -1]], ids=str)
def test_each_token_gets_its_own_adapter_and_the_base_none(vllms_own: None, slots: list[int], prefill: bool):
    patch.install()
    inputs, before = draw_inputs(len(slots))
    got = layer(slots, prefill)
    torch.testing.assert_close(got, expected(inputs, before, slots))
    base = torch.tensor(slots) < 0
    assert torch.equal(got[base], before[base])


@pytest.mark.parametrize("prefill", [True, False])
def test_vllms_own_give_the_base_the_last_slot(vllms_own: None, prefill: bool):
    """Where this fails, vLLM was mended and the replacement can go."""
    inputs, before = draw_inputs(len(MIXED))
    last = [SLOTS - 1 if slot < 0 else slot for slot in MIXED]
    torch.testing.assert_close(layer(MIXED, prefill), expected(inputs, before, last))


SHRINK, EXPAND, SLICE = (inspect.unwrap(getattr(lora_ops, name)) for name in LORA_OPERATORS)


@pytest.mark.parametrize(
    ("operator", "weights", "arguments"),
    [
        (SHRINK, FIRST, (SCALE,)),
        (EXPAND, SECONDS[0], (True,)),
        (EXPAND, SECONDS[0], (False,)),
        (SLICE, SECONDS[1], (1, 3)),
    ],
    ids=["shrink", "expand", "overwrite", "slice"],
)
@given(slots=st.lists(st.integers(-1, SLOTS - 1), min_size=1, max_size=12))
def test_rows_without_an_adapter_stay_to_the_bit_and_the_others_are_vllms(
    operator: Callable[..., None], weights: torch.Tensor, arguments: tuple[object, ...], slots: list[int]
):
    """Whatever lies in the last slot and in the inputs: of a row that isn't computed not even a NaN comes through."""
    indices = torch.tensor(slots)
    inputs, got = (torch.randn(len(slots), width) for width in (weights.shape[-1], weights.shape[-2] + 2))
    inputs[indices < 0] = torch.nan
    before, each = got.clone(), got.clone()
    patch.for_adapted_tokens(operator)(inputs, weights, got, indices, *arguments)
    for row in (indices >= 0).nonzero().flatten().tolist():
        one = slice(row, row + 1)
        operator(inputs[one], weights, each[one], indices[one], *arguments)
    torch.testing.assert_close(got, each)
    assert torch.equal(got[indices < 0], before[indices < 0])


def test_a_batch_of_adapters_alone_is_vllms_own_call():
    def operator(*arguments: object, **named: object) -> None:
        calls.append((arguments, named))

    calls: list[tuple[object, object]] = []
    asked = (torch.ones(2, 3), torch.ones(1, 1, 2, 3), torch.zeros(2, 2), torch.tensor([0, 0]))
    patch.for_adapted_tokens(operator)(*asked, 0.5, add_inputs=True)
    ((arguments, named),) = calls
    assert all(got is wanted for got, wanted in zip(arguments, (*asked, 0.5), strict=True))
    assert named == {"add_inputs": True}


def test_it_is_installed_once_wherever_it_is_called(vllms_own: None):
    patch.install()
    first = [getattr(module, name) for module in patch.CALLERS for name in LORA_OPERATORS]
    patch.install()
    assert [getattr(module, name) for module in patch.CALLERS for name in LORA_OPERATORS] == first
    assert first[:3] == first[3:]
    assert all(inspect.unwrap(operator) is not operator for operator in first)


def test_operators_that_take_something_else_are_noticed(vllms_own: None, monkeypatch: pytest.MonkeyPatch):
    patch.install()
    assert compat.moved() == []
    monkeypatch.setattr(punica_cpu, "bgmv_expand", lambda inputs, weights: None)
    expected = "vllm.lora.punica_wrapper.punica_cpu.bgmv_expand takes ['inputs', 'weights'], expected ['inputs', "
    (line,) = compat.moved()
    assert line.startswith(expected)
