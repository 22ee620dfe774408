"""The student's output layer, and the matrix products that the loss makes with it.

Legend: N = positions, H = hidden size, V = vocabulary, C = positions of a chunk.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """The student's output layer: logits = hidden @ weight.T + bias."""

    weight: Tensor  # [V, H]
    bias: Tensor | None = None  # [V]

    @property
    def product_dtype(self) -> torch.dtype:
        """What products with the weight are computed in: autocast's dtype where it is on, else the weight's own."""
        device = self.weight.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype


class HeadProducts:
    """The products of a chunk's positions with the head, and the gradients that they add up to.

    All chunks share one buffer of products [C, V], and one of logits where these have another dtype.
    """

    def __init__(self, hidden: Tensor, head: Head, chunk: int, logits_dtype: torch.dtype) -> None:
        dtype, shape = head.product_dtype, (chunk, head.weight.size(0))
        self._hidden, self._weight, self._bias = hidden.detach(), head.weight.detach().to(dtype), head.bias
        self.gradients = _zeros_where_wanted(hidden, head)
        self._products = self._logits = torch.empty(shape, dtype=dtype, device=hidden.device)
        if logits_dtype != dtype:
            self._logits = torch.empty(shape, dtype=logits_dtype, device=hidden.device)

    @property
    def wants_gradients(self) -> bool:
        """Whether hidden states, weight or bias need a gradient."""
        return any(gradient is not None for gradient in self.gradients)

    def logits(self, positions: Tensor) -> Tensor:
        """Logits [C, V] of `positions`, in a buffer to work in: the next chunk overwrites it."""
        products, logits = self._products[: len(positions)], self._logits[: len(positions)]
        torch.mm(self._hidden[positions].to(products.dtype), self._weight.t(), out=products)
        if logits.dtype != products.dtype:
            logits.copy_(products)
        return logits if self._bias is None else logits.add_(self._bias)

    def add_gradients(self, positions: Tensor, of_logits: Tensor) -> None:
        """Take the gradient [C, V] of the logits of `positions` on to whatever needs one."""
        hidden, weight, bias = self.gradients
        if bias is not None:
            bias += of_logits.sum(0)
        products = self._products[: len(positions)]
        if of_logits.dtype != products.dtype:
            products.copy_(of_logits)
        if hidden is not None:
            hidden[positions] = (products @ self._weight).to(hidden.dtype)
        if weight is not None:
            states = self._hidden[positions].to(products.dtype)
            if weight.dtype == products.dtype:
                weight.addmm_(products.t(), states)
            else:
                weight += products.t() @ states


def _zeros_where_wanted(hidden: Tensor, head: Head) -> list[Tensor | None]:
    """Of hidden states, weight and bias: a gradient to add to, or None."""
    wants = torch.is_grad_enabled()
    return [
        torch.zeros_like(each) if wants and each is not None and each.requires_grad else None
        for each in (hidden, head.weight, head.bias)
    ]
