"""The window: results in order, a bounded number ahead, errors in their place."""

import asyncio
from itertools import count

import pytest

from student_trainer.pipeline.prefetch import OrderedPrefetcher


def test_results_come_in_order_though_later_ones_finish_first():
    async def run() -> list[int]:
        gates = [asyncio.Event() for _ in range(6)]

        async def work(key: int) -> int:
            if key + 1 < len(gates):  # waits for its successor
                await gates[key + 1].wait()
            gates[key].set()
            return key * 10

        return [result async for result in OrderedPrefetcher(range(6), work, size=6, most=6)]

    assert asyncio.run(run()) == [0, 10, 20, 30, 40, 50]


def test_no_more_than_size_is_begun_and_not_taken():
    async def run() -> None:
        begun: list[int] = []

        async def work(key: int) -> int:
            begun.append(key)
            return key

        keys = count()
        window = OrderedPrefetcher(keys, work, size=3, most=3)
        for taken in range(1, 5):
            await anext(window)
            await asyncio.sleep(0)
            assert begun == list(range(taken + 3))
        assert next(keys) == 7  # the next one, unread

    asyncio.run(run())


def test_one_slow_answer_does_not_stop_the_asking_but_what_is_held_stays_bounded():
    async def run() -> None:
        slow, begun = asyncio.Event(), 0

        async def work(key: int) -> int:
            nonlocal begun
            begun += 1
            if key == 0:
                await slow.wait()
            return key

        window = OrderedPrefetcher(count(), work, size=3, most=8)
        await asyncio.sleep(0.01)
        assert (begun, window.in_flight, window.ready) == (3, 1, 2)  # nobody waits yet
        reader = asyncio.ensure_future(anext(window))
        await asyncio.sleep(0.01)
        assert (begun, window.in_flight, window.ready) == (8, 1, 7)
        slow.set()
        assert [await reader, *[await anext(window) for _ in range(6)]] == list(range(7))
        await asyncio.sleep(0)
        assert begun == 10  # three ahead of the reader again
        window.resize(5)
        await asyncio.sleep(0)
        assert begun == 12
        await window.aclose()

    asyncio.run(run())


def test_an_error_is_raised_where_its_result_would_have_come():
    async def run() -> None:
        async def work(key: int) -> int:
            if key == 2:
                raise ValueError("third")
            return key

        window = OrderedPrefetcher(range(5), work, size=5, most=5)
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

        window = OrderedPrefetcher(range(9), work, size=2, most=2)
        await asyncio.sleep(0)
        await window.aclose()
        assert cancelled == [0, 1]
        with pytest.raises(StopAsyncIteration):
            await anext(window)

    asyncio.run(run())
