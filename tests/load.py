"""Load on a service: so many clients in turn, or requests at a rate that doesn't wait for answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import numpy as np

Ask = Callable[[int], Awaitable[httpx.Response]]
"""Sends the request of this number and reads its whole answer."""


@dataclass
class Load:
    """What came back: durations in seconds and answers by the requests' numbers, and how long it all took."""

    durations: dict[int, float] = field(default_factory=dict)
    answers: dict[int, httpx.Response] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    seconds: float = 0

    def accepted(self) -> list[int]:
        """Numbers of the requests that were answered 200."""
        return [number for number, answer in self.answers.items() if answer.status_code == 200]

    def rate(self) -> float:
        """Accepted requests per second."""
        return len(self.accepted()) / self.seconds

    def p99_s(self) -> float:
        """99th percentile of the accepted requests' durations."""
        return float(np.percentile([self.durations[number] for number in self.accepted()], 99))

    async def send(self, ask: Ask, number: int) -> None:
        begun = time.perf_counter()
        try:
            self.answers[number] = await ask(number)
        except httpx.TransportError as error:
            self.failures.append(error)
        self.durations[number] = time.perf_counter() - begun


async def closed_loop(ask: Ask, clients: int, seconds: float) -> Load:
    """`clients` that each ask again as soon as they are answered, for so many seconds."""
    load, numbers = Load(), iter(range(10**9))
    begun = time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - begun < seconds:
            await load.send(ask, next(numbers))

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - begun
    return load


async def open_loop(ask: Ask, per_second: float, seconds: float) -> Load:
    """Requests at this rate, whether or not earlier ones are answered."""
    load, begun = Load(), time.perf_counter()
    sending = []
    for number in range(round(per_second * seconds)):
        await asyncio.sleep(max(0, begun + number / per_second - time.perf_counter()))
        sending.append(asyncio.create_task(load.send(ask, number)))
    await asyncio.gather(*sending)
    load.seconds = time.perf_counter() - begun
    return load
