"""The window: results in order, a bounded number ahead, errors in their place."""

import asyncio
from itertools import count

import pytest

from student_trainer.window import Window


def test_results_come_in_order_though_later_ones_finish_first():
    async def run() -> list[int]:
        gates = [asyncio.Event() for _ in range(6)]

        async def work(key: int) -> int:
            if key + 1 < len(gates):  # waits for its successor
                await gates[key + 1].wait()
            gates[key].set()
            return key * 10

        return [result async for result in Window(range(6), work, size=6)]

    assert asyncio.run(run()) == [0, 10, 20, 30, 40, 50]


def test_no_more_than_size_is_begun_and_not_taken():
    async def run() -> None:
        begun: list[int] = []

        async def work(key: int) -> int:
            begun.append(key)
            return key

        keys = count()
        window = Window(keys, work, size=3)
        for taken in range(1, 5):
            await anext(window)
            await asyncio.sleep(0)
            assert begun == list(range(taken + 3))
        assert next(keys) == 7  # the next one, unread

    asyncio.run(run())


def test_an_error_is_raised_where_its_result_would_have_come():
    async def run() -> None:
        async def work(key: int) -> int:
            if key == 2:
                raise ValueError("third")
            return key

        window = Window(range(5), work, size=5)
        assert [await anext(window), await anext(window)] == [0, 1]
        with pytest.raises(ValueError, match="third"):
            await anext(window)
        await window.aclose()

    asyncio.run(run())


def test_closing_cancels_what_is_under_way():
    async def run() -> None:
        cancelled: list[int] = []

        async def work(key: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(key)
                raise

        window = Window(range(9), work, size=2)
        await asyncio.sleep(0)
        await window.aclose()
        assert cancelled == [0, 1]
        with pytest.raises(StopAsyncIteration):
            await anext(window)

    asyncio.run(run())
