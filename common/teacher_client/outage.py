"""A total outage: no endpoint of the teacher is well. Training pauses, which is said, until one is or patience ends."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from common.teacher_client.failures import TeacherUnavailable

COUNTDOWN_S = 15.0
"""Seconds between two lines of the countdown."""

log = logging.getLogger(__name__)


class Outage:
    """What requests wait for while no endpoint is well. `troubles` says why none is.

    It is over for good only when a request is answered: patience runs on while endpoints come up and fail again.
    """

    def __init__(self, patience_s: float, troubles: Callable[[], str]) -> None:
        self.lasted: tuple[float, float | None] = 0.0, None
        """Seconds of those that are over, and when the one under way began: one object, as two threads look at it."""
        self._clock = asyncio.get_running_loop().time
        self._patience_s, self._troubles = patience_s, troubles
        self._over = asyncio.Event()
        self._over.set()
        self.silent_since: float | None = None
        """When the outages began after which no request was answered; whoever sees one answered sets it to None."""

    async def wait(self) -> None:
        """Return when it is over; at once where there is none."""
        await self._over.wait()

    def begin(self) -> bool:
        """From now on there is one; False where there was one already. Whoever begins it runs `count_down`."""
        if not self._over.is_set():
            return False
        now = self._clock()
        self.lasted = self.lasted[0], now
        self.silent_since = now if self.silent_since is None else self.silent_since
        self._over.clear()
        return True

    async def count_down(self) -> None:
        """Say how long is left until it is over.

        Raises TeacherUnavailable when patience ends.
        """
        while (left := self._patience_left()) > 0:
            log.warning(
                "no teacher answers%s (%s); waiting, gives up in %.0f s", self._so_far(), self._troubles(), left
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(min(COUNTDOWN_S, left)):
                    return await self.wait()
        raise TeacherUnavailable(
            f"no teacher answers{self._so_far()} ({self._troubles()}); once one does, start again: training goes "
            "on from its last checkpoint. patience_s says how long to wait"
        )

    def end(self, url: str) -> None:
        """The endpoint at `url` is well again."""
        if not self._over.is_set():
            log.warning("%s answers again%s", url, self._so_far("after"))
            self.let_go()

    def let_go(self) -> None:
        """Nobody waits any longer."""
        if not self._over.is_set():
            seconds, began = self.lasted
            self.lasted = seconds + self._clock() - (began or 0), None
            self._over.set()

    def _patience_left(self) -> float:
        return self._patience_s if self.silent_since is None else self.silent_since + self._patience_s - self._clock()

    def _so_far(self, word: str = "for") -> str:
        passed = 0.0 if self.silent_since is None else self._clock() - self.silent_since
        return f" {word} {passed:.0f} s" if passed >= 1 else ""
