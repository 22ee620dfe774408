"""Sequences: a prompt's token ids, one completion's token ids, and who wrote it.

Legend: P = prompt length, T = completion length, L = P + T, B = sequences in a batch.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Provenance = Literal["dataset", "teacher", "student"]
FinishReason = Literal["stop", "length", "scored"]


@dataclass(frozen=True)
class Sequence:
    """One prompt and one completion. Only the completion carries loss.

    `prompt_ids` has P ids, `completion_ids` T ids ending with the terminator unless `finish_reason` is "length".
    """

    id: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    provenance: Provenance
    finish_reason: FinishReason

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.completion_ids:
            raise ValueError(f"sequence {self.id}: prompt and completion must each hold at least one token")

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def completion_positions(self) -> range:
        """Where the completion's T tokens stand: the only ones that carry loss."""
        return range(len(self.prompt_ids), len(self))


def pad(sequences: list[Sequence], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay `sequences` out side by side, padded on the right to the longest with `pad_id`.

    Returns input ids [B, L] and an attention mask [B, L], 1 on tokens. Padding is told by the mask, never by the pad
    token's id: a real EOS stays a target where both share an id.
    """
    length = max(len(sequence) for sequence in sequences)
    shape = (len(sequences), length)
    input_ids = np.full(shape, pad_id, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    for row, sequence in enumerate(sequences):
        end = len(sequence)
        input_ids[row, :end] = sequence.prompt_ids + sequence.completion_ids
        attention_mask[row, :end] = 1
    return input_ids, attention_mask
