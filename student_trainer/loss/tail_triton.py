"""The functions of `tail_torch.py`, which has their contract, as Triton kernels for CUDA.

The logits are read twice and written once, in their own dtype. That is 6 bytes for a logit in 16 bits, where torch
alone, which works on a copy in float32, moves 44: about the time of a product with the head. The kernels need Triton,
which torch's builds for CUDA bring along, and the C compiler that it calls. They run on the current device.

`sum_up` keeps a running largest logit and sum in each lane, as an online softmax does (Milakov and Gimelshein, 2018,
arXiv:1805.02867), with one exponential per logit.

Legend: C = positions of a chunk, V = vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from student_trainer.loss.tail_torch import Tail

BLOCK = 4096
"""Logits of a position that a program holds at a time."""
WARPS = 8
LOWEST = tl.constexpr(torch.finfo(torch.float32).min)
"""Below every logit but -inf, from which nothing can be subtracted."""


def sum_up(logits: Tensor) -> Tail:
    """The tail of `logits` [C, V], contiguous, in float32; its total is NaN where a logit is NaN."""
    assert logits.is_contiguous()
    positions, columns = logits.shape
    most, total = logits.new_empty((2, positions, 1), dtype=torch.float32)
    best = logits.new_empty((positions, 1), dtype=torch.int64)
    _sum_up[(positions,)](logits, most, total, best, columns, BLOCK=BLOCK, num_warps=WARPS)
    return Tail(most, total, best)


def write_gradient(logits: Tensor, tail: Tail, factor: Tensor) -> None:
    """Overwrite `logits` [C, V], contiguous, with `factor` [C, 1] * exp(logit - most), computed in float32."""
    assert logits.is_contiguous()
    positions, columns = logits.shape
    grid = (positions, triton.cdiv(columns, BLOCK))
    _write_gradient[grid](logits, tail.most, factor.contiguous(), columns, BLOCK=BLOCK, num_warps=WARPS)


@triton.jit
def _sum_up(
    logits: tl.tensor, most: tl.tensor, total: tl.tensor, best: tl.tensor, columns: tl.tensor, BLOCK: tl.constexpr
) -> None:
    position = tl.program_id(0).to(tl.int64)
    begin = logits + position * columns
    lanes = tl.arange(0, BLOCK)
    largest = tl.full([BLOCK], LOWEST, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    ids = tl.zeros([BLOCK], tl.int32)
    for first in range(0, columns, BLOCK):
        column = first + lanes
        values = tl.load(begin + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        above = values > largest
        decay = tl.exp(-tl.abs(values - largest))
        sums = tl.where(above, sums * decay + 1, sums + decay)
        ids = tl.where(above, column, ids)
        largest = tl.where(above, values, largest)
    most_of_all = tl.max(largest, 0)
    tl.store(most + position, most_of_all)
    tl.store(total + position, tl.sum(sums * tl.exp(largest - most_of_all), 0))
    tl.store(best + position, tl.min(tl.where(largest == most_of_all, ids, columns), 0).to(tl.int64))


@triton.jit
def _write_gradient(
    logits: tl.tensor, most: tl.tensor, factor: tl.tensor, columns: tl.tensor, BLOCK: tl.constexpr
) -> None:
    position = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = logits + position * columns + column
    values = tl.load(place, mask=column < columns, other=float("-inf")).to(tl.float32)
    weights = tl.load(factor + position) * tl.exp(values - tl.load(most + position))
    tl.store(place, weights.to(logits.dtype.element_ty), mask=column < columns)
