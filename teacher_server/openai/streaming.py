"""Several completions written at once: merged as they come, sent as server-sent events or gathered whole."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from openai.types import CompletionUsage
from pydantic import BaseModel

from teacher_server.engine.metrics import Meter
from teacher_server.engine.protocol import EngineUnavailable, OutputDelta, SequenceError, SequenceTooLong
from teacher_server.http.errors import ApiError
from teacher_server.openai.responses import Answer

logger = logging.getLogger(__name__)

WAITING_DELTAS = 256
"""Deltas that are kept for a slow reader; then writers wait, while the engine gathers what it has for them."""

T = TypeVar("T")


async def merge(sources: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """What the sources give, each with its source's index, as it comes. Closing it closes all sources.

    Raises what the first failing source raises.
    """
    room = asyncio.Semaphore(WAITING_DELTAS)
    arrived: asyncio.Queue[tuple[int, T] | asyncio.Task[None]] = asyncio.Queue()

    async def follow(index: int, source: AsyncGenerator[T]) -> None:
        async with aclosing(source):
            async for item in source:
                await room.acquire()
                arrived.put_nowait((index, item))

    tasks = [asyncio.create_task(follow(index, source)) for index, source in enumerate(sources)]
    for task in tasks:
        task.add_done_callback(arrived.put_nowait)
    running = len(tasks)
    try:
        while running:
            item = await arrived.get()
            if isinstance(item, asyncio.Task):
                item.result()
                running -= 1
            else:
                room.release()
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Usage:
    """Counts tokens: of prompts once, whatever the number of samples; of completions with their terminators.

    The `meter` hears of each completion that ends.
    """

    def __init__(self, prompt_tokens: int, meter: Meter) -> None:
        self._prompt = prompt_tokens
        self._written: Counter[int] = Counter()
        self._meter = meter

    def count(self, index: int, delta: OutputDelta) -> None:
        """Count what was written of the completion `index`."""
        self._written[index] += len(delta.token_ids)
        if delta.finish_reason is not None:
            self._meter.answered(delta.finish_reason, self._written[index])

    def failed(self, error: SequenceError | EngineUnavailable) -> None:
        """Count what ended all of the answer."""
        if isinstance(error, SequenceError):
            self._meter.answered(None, 0)
        else:
            self._meter.cut()

    def total(self) -> CompletionUsage:
        """What was counted."""
        written = self._written.total()
        return CompletionUsage(
            prompt_tokens=self._prompt, completion_tokens=written, total_tokens=self._prompt + written
        )


async def gather(answer: Answer, writers: Sequence[AsyncGenerator[OutputDelta]], usage: Usage) -> BaseModel:
    """The whole answer. Raises ApiError when a sequence is refused, EngineUnavailable. Cancelling cancels the work."""
    choices: list[list[OutputDelta]] = [[] for _ in writers]
    try:
        async with aclosing(merge(writers)) as deltas:
            async for index, delta in deltas:
                usage.count(index, delta)
                choices[index].append(delta)
    except SequenceError as error:
        usage.failed(error)
        raise to_api_error(error) from None
    return await asyncio.to_thread(answer.whole, choices, usage.total())


async def events(
    answer: Answer, writers: Sequence[AsyncGenerator[OutputDelta]], usage: Usage, tell_usage: bool
) -> AsyncGenerator[str]:
    """Server-sent events: chunks, `[DONE]` at last; or an error, which ends the stream. Closing cancels the work."""
    try:
        async with aclosing(merge(writers)) as deltas:
            async for index, delta in deltas:
                usage.count(index, delta)
                for chunk in answer.chunks(index, delta):
                    yield _event(chunk)
        if tell_usage:
            yield _event(answer.usage_chunk(usage.total()))
        yield "data: [DONE]\n\n"
    except (SequenceError, EngineUnavailable) as error:
        usage.failed(error)
        logger.error("a stream of %d completions ends with an error: %s", len(writers), error)
        yield f"data: {bytes(to_api_error(error).response().body).decode()}\n\n"


def to_api_error(error: SequenceError | EngineUnavailable) -> ApiError:
    """The engine's error as OpenAI's clients know errors: all of a request fails with one of its sequences."""
    if isinstance(error, SequenceError):
        code = "context_length_exceeded" if isinstance(error, SequenceTooLong) else "invalid_value"
        return ApiError(422, code, str(error))
    return ApiError(503, "engine_unavailable", f"the engine can't answer now: {error}; try again later")


def _event(chunk: BaseModel) -> str:
    return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"
