"""Prefetching in order: work begun ahead of its reader, within a bounded window."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


class OrderedPrefetcher(Generic[Key, Result]):
    """An async iterator over `work(key)` in the order of `keys`, of which at most `size` are begun and not yet taken.

    While its reader waits for a slow one, those that are ready behind it do not count: work goes on, but for no more
    than `most` begun and not yet taken. `keys` is consumed lazily. An error of `work` is raised where its result would
    have come. Create and use it inside a running loop, and close it with `aclose`, which cancels what is under way.
    """

    def __init__(
        self, keys: Iterable[Key], work: Callable[[Key], Coroutine[Any, Any, Result]], size: int, most: int
    ) -> None:
        self._keys, self._work, self._size, self._most = iter(keys), work, size, most
        self._tasks: deque[asyncio.Task[Result]] = deque()
        self._reader_waits = False
        self._fill()

    @property
    def size(self) -> int:
        """How many may be begun and not yet taken."""
        return self._size

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        return sum(not task.done() for task in self._tasks)

    @property
    def ready(self) -> int:
        """How many are done and not yet taken."""
        return len(self._tasks) - self.in_flight

    def resize(self, size: int) -> None:
        """Let `size` be begun and not yet taken from now on; those beyond a smaller one are taken as they come."""
        self._size = size
        self._fill()

    def __aiter__(self) -> "OrderedPrefetcher[Key, Result]":
        return self

    async def __anext__(self) -> Result:
        if not self._tasks:
            raise StopAsyncIteration
        result = await self._first()
        self._tasks.popleft()
        self._fill()
        return result

    async def aclose(self) -> None:
        """Cancel the work that nobody took and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _first(self) -> Result:
        if self._tasks[0].done():
            return self._tasks[0].result()
        self._reader_waits = True
        try:
            self._fill()
            return await self._tasks[0]
        finally:
            self._reader_waits = False

    def _fill(self) -> None:
        counted = self.in_flight if self._reader_waits else len(self._tasks)
        for _ in range(min(self._size - counted, self._most - len(self._tasks))):
            try:
                key = next(self._keys)
            except StopIteration:
                return
            self._tasks.append(asyncio.create_task(self._work(key)))
            self._tasks[-1].add_done_callback(self._go_on)

    def _go_on(self, ended: asyncio.Task[Result]) -> None:
        if self._reader_waits:
            self._fill()
