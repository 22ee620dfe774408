"""The student's masses of a chunk of positions, and the gradient of its logits, both in the memory of the logits.

Legend: C = positions of the chunk, V = vocabulary, k = teacher's entries per position, M = masses of a position (k + 1;
k at k = V).
"""

from types import ModuleType

import torch
from torch import Tensor

from student_trainer.loss.targets import NO_ID, NO_MASS, Targets


class StudentMasses:
    """What the loss needs of the student at C positions; the logits themselves are gone."""

    masses: Tensor
    """Log masses [C, M], up to one constant per position: of the teacher's ids, and of the tail."""
    written: Tensor
    """Logits [C] of the written tokens, up to the same constant."""
    best: Tensor
    """The most likely id [C]; of equal ones the lowest."""

    def __init__(self, logits: Tensor, targets: Targets, tail_functions: ModuleType) -> None:
        """Take over `logits` [C, V] as memory to work in; `tail_functions` is tail_torch, or tail_triton.

        The tail is summed from its own logits, so it keeps its digits, and its gradient, however small it is. Without
        a teacher it is all there is. An entry without an id stands in for the written token wherever it is read or
        written, so that it changes nothing.
        """
        self._logits, self._tail_functions, self._tail = logits, tail_functions, None
        self._tokens = targets.token_ids[:, None]
        named = targets.token_ids.new_empty((len(logits), 0)) if targets.teacher is None else targets.teacher.topk_ids
        self._has_id = named != NO_ID
        self._ids = named.where(self._has_id, self._tokens)
        self._is_written = (self._ids == self._tokens) & self._has_id
        self._is_named = self._is_written.any(-1, keepdim=True)  # [C, 1]: whether the written token is among the ids
        written, vocabulary = logits.gather(-1, self._tokens), logits.size(-1)
        exact = torch.promote_types(logits.dtype, torch.float32)
        self.written = written.to(exact).squeeze(-1)
        self.masses = logits.gather(-1, self._ids).to(exact).masked_fill(~self._has_id, NO_MASS)
        values, ids = self.masses, self._ids
        if ids.size(-1) < vocabulary:
            logits.scatter_(-1, ids, -torch.inf)
            logits.scatter_(-1, self._tokens, written.masked_fill(self._is_named, -torch.inf))
            self._tail = tail_functions.sum_up(logits)
            self.masses = torch.cat([values, self._tail.most + self._tail.total.log()], -1)
            values, ids = torch.cat([values, self._tail.most], -1), torch.cat([ids, self._tail.best], -1)
        self.best = ids.where(values == values.amax(-1, keepdim=True), vocabulary).amin(-1)

    def gradient(self, of_masses: Tensor, instruct: Tensor) -> Tensor:
        """Gradient [C, V] of the logits: `of_masses` [C, M], less `instruct` [C] at the written tokens; once only.

        What meets at a written token is added up before it is rounded to the dtype of the logits: where the student is
        sure of it, both are large and their difference is small. Where an index comes twice, so does its value: the
        order in which a device writes them is not defined.
        """
        k, instruct = self._ids.size(-1), instruct[:, None].to(of_masses.dtype)
        ids, values = self._ids, of_masses[:, :k] - self._is_written * instruct
        if self._tail is not None:
            factor = of_masses[:, k:] / self._tail.total
            self._tail_functions.write_gradient(self._logits, self._tail, factor)
            outside = factor * (self.written[:, None] - self._tail.most).exp() - instruct
            inside = (values * self._is_written).sum(-1, keepdim=True)
            of_written = inside.where(self._is_named, outside)
            values = values.where(self._has_id, of_written)
            ids, values = torch.cat([ids, self._tokens], -1), torch.cat([values, of_written], -1)
        return self._logits.scatter_(-1, ids, values.to(self._logits.dtype))
