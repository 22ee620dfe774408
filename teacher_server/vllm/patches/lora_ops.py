"""In vLLM's workers on a CPU: tokens without an adapter get nothing of one.

Their index is -1. vLLM's operators on a CPU index the adapters' weights with it, which is the last slot, so that base
tokens in a batch with an adapter's get whatever lies there. Its operators on GPUs pass such tokens over, as these do.

Legend: n = tokens of a batch.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

from teacher_server.vllm.patches.compat import LORA_OPERATORS

CALLERS = (lora_ops, punica_cpu)
"""Modules that call the operators of an index per token; those of an index per stretch of tokens are in the first."""

Operator = Callable[..., None]


def install() -> None:
    """Replace vLLM's operators in this process, once."""
    for name in LORA_OPERATORS:
        if not hasattr(getattr(lora_ops, name), "__wrapped__"):
            replacement = for_adapted_tokens(getattr(lora_ops, name))
            for module in CALLERS:
                vars(module)[name] = replacement


def for_adapted_tokens(operator: Operator) -> Operator:
    """`operator` on the tokens of index 0 and more alone; the others' rows of the output stay as they are."""

    @wraps(operator)
    def operate(
        inputs: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        indices: torch.Tensor,
        *more: Any,
        **named: Any,
    ) -> None:
        if int(indices.min()) >= 0:
            operator(inputs, weights, output, indices, *more, **named)
            return
        adapted = (indices >= 0).nonzero().squeeze(1)
        if len(adapted):
            rows = output[adapted]
            operator(inputs[adapted], weights, rows, indices[adapted], *more, **named)
            output[adapted] = rows

    return operate
