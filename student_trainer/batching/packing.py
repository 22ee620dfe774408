"""Packing: sequences laid end to end, as many as a budget of tokens holds, and what keeps them apart.

Sequences of a pack must not attend to each other. The positions of each start again at 0, and its bounds are given. Of
these
- `attention.py`, which most students use, and flash_attention_2 take the bounds, and spend nothing on the rest;
- sdpa and eager make a block mask [L, L] of the positions, in transformers' `masking_utils.create_causal_mask` (5.19),
  on three conditions: position ids are given, the attention mask is None and there is no cache (`use_cache=False`; most
  configurations leave it on). Where one of them fails, sequences see each other, and nothing says so.

Legend: L = tokens of a pack.
"""

from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from student_trainer.batching.prefix_sharing import MergedTrace


def fill_packs(traces: list[MergedTrace], budget: int) -> list[list[MergedTrace]]:
    """First fit: each sequence, in the given order (longest first), goes into the first pack with room for it.

    A pack has room for `budget` tokens. A sequence longer than that has a pack of its own.
    """
    packs: list[list[MergedTrace]] = []
    room: list[int] = []
    for trace in traces:
        at = next((index for index, left in enumerate(room) if len(trace) <= left), len(packs))
        if at == len(packs):
            packs.append([])
            room.append(budget)
        packs[at].append(trace)
        room[at] -= len(trace)
    return packs


def attention_kwargs(lengths: list[int], device: torch.device) -> dict[str, Any]:
    """What the decoder gets beside `input_ids` [1, L] of a pack of sequences with these lengths.

    The names are those that transformers gives the arguments of flash attention.
    """
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    positions: NDArray[np.int64] = np.concatenate([np.arange(length) for length in lengths])
    return {
        "position_ids": torch.from_numpy(positions)[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
