"""A container of vLLM's logprobs that stay arrays: one row per token.

Legend: n = rows, k = entries per row. A row of vLLM's has k+1 entries: the actual token first, then the k most likely.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class LogprobRows:
    """Rows of a completion: `token_ids` and `token_logprobs` [n], `topk_ids` and `topk_logprobs` [n, k].

    vLLM's output processor asks of it what it asks of its own containers: `len`, slices and `extend`.
    """

    def __init__(self, *columns: NDArray[Any]) -> None:
        self._columns = columns
        self._length = len(columns[0])

    @classmethod
    def of(cls, ids: NDArray[np.int32], logprobs: NDArray[np.float32]) -> "LogprobRows":
        """vLLM's rows, both [n, k + 1], without copying them."""
        return cls(ids[:, 0], logprobs[:, 0], ids[:, 1:], logprobs[:, 1:])

    @classmethod
    def empty(cls, top_k: int) -> "LogprobRows":
        return cls.of(np.empty((0, top_k + 1), np.int32), np.empty((0, top_k + 1), np.float32))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Token ids and logprobs, and the most likely ones' ids and logprobs."""
        return tuple(column[: self._length] for column in self._columns)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: slice) -> "LogprobRows":
        return LogprobRows(*(column[rows] for column in self.columns))

    def extend(self, other: "LogprobRows") -> None:
        """Copy the rows of `other`, so that nothing keeps the buffers in which all requests' rows arrived."""
        length = self._length + len(other)
        if length > len(self._columns[0]):
            room = max(length, 2 * self._length)
            self._columns = tuple(_moved_into(room, column) for column in self.columns)
        for column, more in zip(self._columns, other.columns, strict=True):
            column[self._length : length] = more
        self._length = length


def _moved_into(room: int, column: NDArray[Any]) -> NDArray[Any]:
    """`column` at the beginning of an array of `room` rows."""
    moved = np.empty((room, *column.shape[1:]), column.dtype)
    moved[: len(column)] = column
    return moved
