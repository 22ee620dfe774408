"""Prompts in one global order per (seed, epoch), exact at every cut, with bounded memory."""

from collections.abc import Iterator
from pathlib import Path

from common.toolbench.rows import PromptRow


class PromptStream:
    """The training prompts; `len(stream)` is the number of rows in an epoch."""

    def __init__(self, path: Path, seed: int) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def rows(self, epoch: int, positions: range) -> Iterator[tuple[int, PromptRow]]:
        """Yield (position, row) for `positions` of the epoch's global order."""
        raise NotImplementedError
