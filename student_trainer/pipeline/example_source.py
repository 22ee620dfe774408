"""Where a step's examples come from, once it is open (`opening.py`).

An event loop in a thread of its own reads rows, renders them and asks ahead, while the caller computes.
"""

import logging
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal

from common.toolbench.rows import PromptRow
from student_trainer.data.plan import UNANSWERED, Ahead, Example, StepExamples, StepPlan, Unused
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.stop import unless_stopped
from student_trainer.pipeline.adaptive_window import StepSeen, WindowSize
from student_trainer.pipeline.example_builders import Maker
from student_trainer.pipeline.prefetch import Window
from student_trainer.pipeline.step_prefetcher import Lookahead, Outcome, Taken
from student_trainer.pipeline.stopwatch import Stopwatch
from student_trainer.pipeline.teacher_news import NO_NEWS, Newsagent, TeacherNews
from student_trainer.record.store import Key
from student_trainer.settings import TrainSettings
from student_trainer.teacher.pool import TeacherPool

VALIDATION_EPOCH = -1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supply:
    """What makes examples of rows."""

    maker: Maker
    reading: Stopwatch
    """Runs while rows are read and rendered."""
    teacher: TeacherPool | None = None
    """None where no live teacher is asked."""
    newsagent: Newsagent | None = None
    """None where examples need no teacher's answers."""


class Source:
    """An open source of examples.

    Every call may raise UserError (teacher down, request refused, record incomplete), or StopAsked while it waits.
    """

    def __init__(
        self,
        settings: TrainSettings,
        stream: PromptStream,
        supply: Supply,
        share: int,
        portal: BlockingPortal,
        stack: ExitStack,
    ) -> None:
        """`share` is this worker's of a step; `stack` closes before what `supply` needs."""
        self._stream, self._supply, self._portal, self._stack = stream, supply, portal, stack
        self._run_folder = settings.run_folder
        fixed = settings.teacher.window if settings.teacher else None
        self._limit = fixed or (settings.teacher.max_window if settings.teacher else 2 * share)
        self._rule = None if fixed or supply.teacher is None else WindowSize(share, self._limit)
        self._size = self._rule.size if self._rule else fixed or min(2 * share, self._limit)
        self._most = settings.teacher.max_window if settings.teacher else self._limit
        self._lookahead: Lookahead | None = None
        self._read_s = 0.0

    def steps(self, plans: Iterable[StepPlan]) -> Iterator[StepExamples]:
        """One StepExamples per plan. Asking begins at once and goes on while the caller computes; plans are consumed
        lazily, as far ahead as the window reaches.
        """
        lookahead = self._lookahead = self._portal.call(self._look_ahead, plans)
        self._stack.callback(self._portal.call, lookahead.aclose)
        return self._iterate(lookahead)

    def answer_rows(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Example]:
        """Examples of (position, row) pairs outside the stream, as epoch -1: the fixed validation slice.

        Rows that don't fit, that the teacher refuses, or whose completion was cut by length, are left out and logged.
        """
        examples = []
        for outcome in self._portal.call(unless_stopped, self._run_folder, self._make_all, rows):
            if isinstance(outcome, Example):
                examples.append(outcome)
            else:
                log.warning("validation row %s is left out: %s", outcome.id, outcome.reason)
        return examples

    def see(self, metrics: dict[str, float]) -> None:
        """Learn from the metrics of a step how far to ask ahead; where settings fix that, nothing."""
        if self._rule is None or self._lookahead is None:
            return
        names = ("time/waited_s", "time/step_s", "pipeline/latency_s", "time/outage_s", "pipeline/staleness")
        self._size, before = self._rule.see(StepSeen(*(metrics[name] for name in names))), self._size
        if self._size != before:
            self._portal.start_task_soon(self._lookahead.resize, self._size)

    def _iterate(self, lookahead: Lookahead) -> Iterator[StepExamples]:
        while True:
            began = time.perf_counter()
            taken = self._portal.call(unless_stopped, self._run_folder, lookahead.take)
            if taken is None:
                return
            yield self._step(taken, began)

    def _step(self, taken: Taken, began: float) -> StepExamples:
        waited_s = time.perf_counter() - began
        unused = [outcome for outcome in taken.outcomes if isinstance(outcome, Unused)]
        examples = [outcome for outcome in taken.outcomes if isinstance(outcome, Example)]
        read_s, news = self._supply.reading.seconds, self._news(len(examples), unused)
        stream_s, self._read_s = read_s - self._read_s, read_s
        return StepExamples(taken.plan, examples, unused, began, waited_s, stream_s, self._ahead(taken), news)

    def _news(self, used: int, unused: list[Unused]) -> TeacherNews:
        if self._supply.newsagent is None:
            return NO_NEWS
        unanswered = tuple(prompt.reason for prompt in unused if prompt.kind in UNANSWERED)
        cut = sum(prompt.kind == "cut_by_length" for prompt in unused)
        return TeacherNews(used + cut + len(unanswered), unanswered, self._supply.newsagent.news())

    def _ahead(self, taken: Taken) -> Ahead | None:
        if self._supply.teacher is None:
            return None
        return Ahead(
            taken.window, self._limit, taken.in_flight, taken.ready, taken.latency_s, taken.staleness,
            self._supply.teacher.replicas(),
        )  # fmt: skip

    async def _look_ahead(self, plans: Iterable[StepPlan]) -> Lookahead:
        return Lookahead(plans, self._make, self._size, self._most)

    async def _make(self, key: Key) -> Outcome:
        with self._supply.reading:
            ((_, row),) = self._stream.rows(key.epoch, range(key.position, key.position + 1))
        return await self._supply.maker.make(key, row)

    async def _make_all(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Outcome]:
        def make(pair: tuple[int, PromptRow]) -> Coroutine[Any, Any, Outcome]:
            return self._supply.maker.make(Key(VALIDATION_EPOCH, pair[0]), pair[1])

        window = Window(rows, make, self._size, self._most)
        try:
            return [outcome async for outcome in window]
        finally:
            await window.aclose()
