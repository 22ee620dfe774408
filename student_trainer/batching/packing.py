"""Packs: strands laid end to end in one row, as many as a budget of tokens holds, and what keeps them apart.

Strands of a pack don't attend to each other. Their positions start again at 0, and their bounds are told. Of these
- `attention.py`, which most students use, and flash_attention_2 take the bounds, and spend nothing on the rest;
- sdpa and eager make a block mask [L, L] of the positions, in transformers' `masking_utils.create_causal_mask` (5.19),
  on three conditions: position ids are given, the attention mask is None and there is no cache (`use_cache=False`; most
  configurations leave it on). Without one of them strands see each other, and nothing says so.
"""

from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from student_trainer.batching.prefix_sharing import Strand


def fill_packs(strands: list[Strand], budget: int) -> list[list[Strand]]:
    """Put each strand, in the given order (longest first), into the first pack whose tokens stay within `budget`.

    A strand longer than the budget has a pack of its own.
    """
    packs: list[list[Strand]] = []
    room: list[int] = []
    for strand in strands:
        at = next((index for index, left in enumerate(room) if len(strand) <= left), len(packs))
        if at == len(packs):
            packs.append([])
            room.append(budget)
        packs[at].append(strand)
        room[at] -= len(strand)
    return packs


def keep_apart(lengths: list[int], device: torch.device) -> dict[str, Any]:
    """What the decoder is told of a pack of sequences with these lengths, beside `input_ids` [1, L]."""
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    positions: NDArray[np.int64] = np.concatenate([np.arange(length) for length in lengths])
    return {
        "position_ids": torch.from_numpy(positions)[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
