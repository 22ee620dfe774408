"""The bounded window: work done ahead of its reader, handed over in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


class Window(Generic[Key, Result]):
    """An async iterator over `work(key)` in the order of `keys`, of which at most `size` are begun and not yet taken.

    `keys` is consumed lazily. An error of `work` is raised where its result would have come. Create and use it inside a
    running loop, and close it with `aclose`, which cancels what is under way.
    """

    def __init__(self, keys: Iterable[Key], work: Callable[[Key], Coroutine[Any, Any, Result]], size: int) -> None:
        self._keys, self._work, self._size = iter(keys), work, size
        self._tasks: deque[asyncio.Task[Result]] = deque()
        self._fill()

    def __aiter__(self) -> "Window[Key, Result]":
        return self

    async def __anext__(self) -> Result:
        if not self._tasks:
            raise StopAsyncIteration
        result = await self._tasks[0]
        self._tasks.popleft()
        self._fill()
        return result

    async def aclose(self) -> None:
        """Cancel the work that nobody took and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _fill(self) -> None:
        while len(self._tasks) < self._size:
            try:
                key = next(self._keys)
            except StopIteration:
                return
            self._tasks.append(asyncio.create_task(self._work(key)))
