"""A stopwatch: the seconds spent inside `with`, all passages together."""

import time
from types import TracebackType


class Stopwatch:
    """`seconds` spent inside `with stopwatch:`, one passage at a time; any thread may read them."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds += time.perf_counter() - self._began
