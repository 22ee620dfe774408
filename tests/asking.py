"""The project's client of a teacher without a handshake: tests and benchmarks ask whatever they started."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.api import TeacherCard
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.pool import TeacherPool, open_pool
from common.teacher_client.protocol import Teacher
from common.teacher_client.settings import TeacherClientSettings


@asynccontextmanager
async def asking(url: str, token: str, attempts: int = 6, timeout_s: float = 120) -> AsyncIterator[TeacherPool]:
    """A met teacher, whose card may say anything."""

    def connect(settings: TeacherClientSettings, url: str) -> TeacherCalls:
        return TeacherCalls(url, token, timeout_s)

    async def fits(url: str, teacher: Teacher, card: TeacherCard, revision: str | None) -> None:
        pass

    settings = TeacherClientSettings(url=url, model="any", attempts=attempts, timeout_s=timeout_s)
    async with open_pool(settings, fits, connect) as pool:
        await pool.meet()
        yield pool
