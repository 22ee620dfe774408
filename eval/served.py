"""A served model that is asked for evaluation, once it passed the handshake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.render import Renderer
from common.teacher_client.handshake import Handshake, Revisions
from common.teacher_client.pool import TeacherPool, open_pool
from common.teacher_client.settings import TeacherClientSettings


@asynccontextmanager
async def met(
    asked: TeacherClientSettings,
    renderer: Renderer,
    max_length: int,
    prompts: list[list[int]],
    revision: str | None = None,
) -> AsyncIterator[TeacherPool]:
    """The service of a model; its alignment is probed after `prompts`, token ids.

    Raises UserError, also where it isn't of `revision`, if given.
    """
    handshake = Handshake(asked, renderer, max_length, prompts, Revisions("stop", revision))
    async with open_pool(asked, handshake.check) as pool:
        await handshake.meet(pool)
        yield pool
