"""An event loop whose clock jumps to the next timer when nothing is ready: minutes of waiting pass at once.

What is computed takes no time on it, so that a busy machine changes nothing.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Counts the seconds that it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0 if timeout else timeout)
        self.skipped += (timeout or 0) if not ready else 0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """For work without real input or output."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, on such a loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
