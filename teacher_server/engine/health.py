"""Whether the engine still answers: by what it reports while it works, by a question of our own while it is idle."""

import asyncio

from teacher_server.engine.protocol import Engine, EngineUnavailable

FRESH_S = 1.0
"""Seconds for which a sign of life counts, so that health checks of strangers can't become the engine's work."""
LOOK_S = 0.05
"""Seconds between two looks at a working engine's counters, while our question waits behind its work."""


class EngineHung(EngineUnavailable):
    """The engine's processes are alive, but answered nothing for too long."""


class EngineHealth:
    """Finds dead and hung engines. A busy engine is healthy as long as its counter `steps` grows.

    Our own question may wait for minutes behind a busy engine's work, so it only decides where nothing else happens.
    At most one is asked at a time, however many callers wait for it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._steps = 0
        self._alive_at = float("-inf")
        self._question: asyncio.Task[None] | None = None

    async def check(self, patience_s: float) -> None:
        """Return once the engine has shown itself alive.

        Raises EngineUnavailable when it is dead, EngineHung when it shows nothing for `patience_s` seconds.
        """
        await self._engine.check_health()
        for _ in range(max(1, round(patience_s / LOOK_S))):  # looks, not a clock: this process may have been stopped
            if self._shows_life():
                return
            question = self._question = self._question or asyncio.create_task(self._ask())
            await asyncio.wait({question}, timeout=LOOK_S)
            if question.done():
                self._question = None
                await question
                self._alive_at = _now()
                return
        if not self._shows_life():
            raise EngineHung(f"the engine has shown no sign of life for {patience_s:g} s")

    def _shows_life(self) -> bool:
        steps = self._engine.counters()["steps"]
        if steps != self._steps:
            self._steps, self._alive_at = steps, _now()
        return _now() - self._alive_at < FRESH_S

    async def _ask(self) -> None:
        await self._engine.score(self._engine.describe().models[0].name, [1], [1], 1)


def _now() -> float:
    return asyncio.get_running_loop().time()
