"""Stand-in teachers behind HTTP that fail as they are told, and a pool over them, on a clock that skips waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from common.api import DistillRequest, DistillSequence
from common.render import Renderer
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.handshake import Handshake, Revisions
from common.teacher_client.pool import TeacherPool, open_pool
from common.teacher_client.settings import TeacherClientSettings
from common.wire import encode
from tests.unit.student_trainer.stand_in import TOKENIZER, TOP_K, StandInTeacher

A, B = "http://a/teacher", "http://b/teacher"
REFUSED = httpx.ConnectError("connection refused")
RENDERER, MAX_LENGTH = Renderer(TOKENIZER, "toolbench", 128), 128
Fault = httpx.Response | Exception | None


class Served:
    """`fault` says what a request for a sequence meets instead of its answer ("" is the card); answers take a second,
    faults `hangs_s`.

    `asked` are the sequences asked for, with the time of each.
    """

    def __init__(self, fault: Callable[[str], Fault] = lambda id: None, **teacher: Any) -> None:
        self.fault, self.teacher = fault, StandInTeacher(**teacher)
        self.asked: list[tuple[str, float]] = []
        self.hangs_s = 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = DistillRequest.model_validate_json(request.content) if request.method == "POST" else None
        id = asked.sequences[0].id if asked else ""
        self.asked.append((id, asyncio.get_running_loop().time()))
        if (met := self.fault(id)) is not None:
            return await self.raised(met)
        if asked is None:
            return httpx.Response(200, text=(await self.teacher.teacher()).model_dump_json())
        await asyncio.sleep(1)
        if (met := self.fault(id)) is not None:
            return await self.raised(met)
        return httpx.Response(200, content=encode(await self.teacher.distill(asked), asked.top_k, asked.logprob_dtype))

    async def raised(self, met: Fault) -> httpx.Response:
        await asyncio.sleep(self.hangs_s)
        if isinstance(met, httpx.Response):
            return httpx.Response(met.status_code, headers=met.headers, content=met.content)
        assert met is not None
        raise met

    def times(self, id: str) -> list[float]:
        """When the sequence was asked for."""
        return [time for asked, time in self.asked if asked == id]

    def prompts(self) -> list[str]:
        """Ids of the prompts asked for, cards and probes apart."""
        return [id for id, _ in self.asked if id.startswith("row-")]


class Outages:
    """A fault: down from one second to another, counted from the first request on."""

    def __init__(self, *spans: tuple[float, float], met: Fault = REFUSED) -> None:
        self._spans, self._met, self._start = spans, met, None

    def __call__(self, id: str) -> Fault:
        now = asyncio.get_running_loop().time()
        self._start = now if self._start is None else self._start
        return self._met if any(start <= now - self._start < end for start, end in self._spans) else None


def settings(**changes: Any) -> TeacherClientSettings:
    return TeacherClientSettings.model_validate({"url": A, "model": "teacher", "top_k": TOP_K, "attempts": 4} | changes)


def ask(number: int) -> DistillRequest:
    sequence = DistillSequence(id=f"row-{number}", prompt_token_ids=[1, number], completion_token_ids=[2, 3])
    return DistillRequest(model="teacher", top_k=TOP_K, sequences=[sequence])


@asynccontextmanager
async def pool_over(served: dict[str, Served], **changes: Any) -> AsyncIterator[TeacherPool]:
    """A pool over the endpoints `served` by url."""

    def connect(settings: TeacherClientSettings, url: str) -> AbstractAsyncContextManager[TeacherCalls]:
        return TeacherCalls(url, "token", transport=httpx.MockTransport(served[url]))

    teacher = settings(url=list(served), **changes)
    prompts, revisions = [list(range(20, 60))], Revisions(teacher.on_new_revision)
    handshake = Handshake(teacher, RENDERER, MAX_LENGTH, prompts, revisions)
    async with open_pool(teacher, handshake.check, connect) as pool:
        await handshake.meet(pool)
        yield pool
