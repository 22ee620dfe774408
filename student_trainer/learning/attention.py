"""Attention that never leaves a sequence of a pack: what sdpa does, without a block mask over the whole pack.

A mask [L, L] costs L^2 where the sequences cost the sum of their own squares. So where a pack's bounds are given, as
`packing.attention_kwargs` gives them, each sequence attends by itself. On a GPU in 16 bits that is one call of torch's
varlen kernel (flash attention, which then needs no package of its own), elsewhere one call of sdpa after the other.
Padded batches go to sdpa as they are.

Legend: H = heads, K = heads of keys and values, L = tokens of the pack, D = size of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from common.errors import UserError

NAME = "sdpa_by_sequence"
ATTENTION_KINDS = {"full_attention", "sliding_attention", "chunked_attention"}
"""What transformers calls the kinds of layers that a mask keeps apart."""


def check_packable(model: PreTrainedModel) -> None:
    """Raise UserError where more than attention mixes positions, which nothing would keep inside its sequence."""
    kinds = set(getattr(model.config, "layer_types", None) or ()) - ATTENTION_KINDS
    if kinds or any(isinstance(module, nn.Conv1d) for module in model.modules()):
        raise UserError(
            f"micro_batch_tokens packs sequences, and {type(model).__name__} mixes positions by more than attention "
            f"({', '.join(sorted(kinds)) or 'a convolution'}); set micro_batch_tokens: null, micro_batch_size: 4"
        )


def attend_by_sequence(model: PreTrainedModel) -> None:
    """Have `model` attend sequence by sequence in packs.

    Left as it is, correct and slower, where it doesn't attend by sdpa, or not to all that came before: packs of such
    models are kept apart by a block mask.
    """
    config = model.config
    whole = getattr(config, "sliding_window", None) is None and getattr(config, "attention_chunk_size", None) is None
    if config._attn_implementation == "sdpa" and whole:
        model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module,
    query: Tensor,  # [B, H, L, D]
    key: Tensor,  # [B, K, L, D]
    value: Tensor,  # [B, K, L, D]
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention: states [B, L, H, D], and no weights."""
    given = {"dropout": dropout, "scaling": scaling, **kwargs}
    if cu_seq_lens_q is None or max_length_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    if not dropout and _has_kernel(query):
        return _by_kernel(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    lengths = cu_seq_lens_q.diff().tolist()
    sequences = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [sdpa_attention_forward(module, q, k, v, None, **given)[0] for q, k, v in sequences]
    return torch.cat(attended, dim=1), None


def _has_kernel(states: Tensor) -> bool:
    return states.is_cuda and _dtype_of(states) in (torch.bfloat16, torch.float16)


def _dtype_of(states: Tensor) -> torch.dtype:
    """What sdpa would compute in: autocast knows sdpa, but not the kernel."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def _by_kernel(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None
) -> Tensor:
    """All sequences in one call of a kernel that takes their `bounds` [sequences + 1]."""
    dtype = _dtype_of(query)
    q, k, v = (states[0].transpose(0, 1).to(dtype) for states in (query, key, value))  # [L, H or K, D]
    causal = (-1, 0)
    attended = varlen_attn(
        q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
    )
    assert isinstance(attended, Tensor)
    return attended[None]


def _mask(
    batch_size: int, q_length: int, kv_length: int, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor | None:
    """sdpa's mask of a padded batch; none without padding, in a pack above all."""
    if attention_mask is None:
        return None
    return sdpa_mask(batch_size, q_length, kv_length, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
