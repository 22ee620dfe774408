"""A stand-in engine that takes its time: so many sequences at once, each for so many seconds."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from teacher_server.settings import TeacherServerSettings
from tests.stand_in_engine import StandInEngine

HANG_TOKEN = 30
"""An engine that is asked for a prompt with this token hangs: it answers nothing any more."""
WARM_UP_TOKEN = 1
"""What the service itself asks for is answered at once."""


class WaitingEngine(StandInEngine):
    """Appends `closed` to the file `diary` when it is closed."""

    def __init__(self, seconds: float, at_once: int, diary: Path | None) -> None:
        super().__init__()
        self._seconds = seconds
        self._places = asyncio.Semaphore(at_once)
        self._diary = diary

    async def close(self) -> None:
        await super().close()
        if self._diary is not None:
            with self._diary.open("a") as file:
                file.write("closed\n")

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        if HANG_TOKEN in prompt:
            self.gate = asyncio.Event()
        async with self._places:
            await asyncio.sleep(0 if WARM_UP_TOKEN in prompt else self._seconds)
            await super()._work(model, task, top_k, prompt)


def waiting_engine(
    seconds: float, at_once: int = 64, diary: Path | None = None
) -> Callable[[TeacherServerSettings], WaitingEngine]:
    """What makes such an engine in a replica."""
    return partial(_make, seconds, at_once, diary)


def _make(seconds: float, at_once: int, diary: Path | None, settings: TeacherServerSettings) -> WaitingEngine:
    return WaitingEngine(seconds, at_once, diary)
