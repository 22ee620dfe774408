"""Where a step's examples come from, once it is open (`build.py`).

An event loop in a thread of its own reads rows, builds their examples and so asks the teacher ahead, while the caller
computes. One prompt's way: `_build` → `Builder.build` → `RecordedTeacher.get` → `TeacherPool.distill`.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat, tee
from typing import NamedTuple

from anyio.from_thread import BlockingPortal

from common.run_folder import RunFolder
from common.teacher_client.pool import Counts, TeacherPool
from common.toolbench.rows import PromptRow
from student_trainer.data.plan import (
    ANSWERED,
    UNANSWERED,
    Example,
    Key,
    PrefetchStats,
    StepExamples,
    StepPlan,
    TeacherStats,
    Unused,
)
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.consensus import unless_stopped
from student_trainer.pipeline.adaptive_window import StepSeen
from student_trainer.pipeline.example_builders import Builder, Stopwatch
from student_trainer.pipeline.prefetch import OrderedPrefetcher
from student_trainer.pipeline.prefetch_limits import PrefetchLimits
from student_trainer.settings import TrainSettings

VALIDATION_EPOCH = -1
FIRST_SAID_S, SAID_EVERY_S = 10.0, 60.0
"""Seconds of waiting before a step says what for, and between two times that it does."""
NO_COUNTS: Counts = dict.fromkeys(("retries", "rejected", "opened", "outage_s"), 0)
Outcome = Example | Unused

log = logging.getLogger(__name__)


@dataclass
class _Asked:
    """What is known of a plan's requests so far."""

    in_step: int
    """The step under way when the first was asked for."""
    latency_s: float = 0.0
    """The longest so far."""


class _Item(NamedTuple):
    """A prompt's place, and its row where that isn't the stream's."""

    asked: _Asked
    key: Key
    row: PromptRow | None = None


class ExampleSource:
    """An open source of examples.

    Every call may raise UserError (teacher down, request refused, record incomplete), or StopAsked while it waits.
    """

    def __init__(
        self,
        settings: TrainSettings,
        stream: PromptStream,
        builder: Builder,
        reading: Stopwatch,
        teacher: TeacherPool | None,
        limits: PrefetchLimits,
        portal: BlockingPortal,
        stack: ExitStack,
    ) -> None:
        """`reading` runs while rows are read and rendered; `teacher` is None where no live one is asked; `stack` closes
        before what the others need.
        """
        self._distils = settings.teacher is not None
        self._stream, self._builder, self._reading, self._teacher = stream, builder, reading, teacher
        self._limits, self._portal, self._stack = limits, portal, stack
        self._stop = RunFolder(settings.run_folder).stop
        self._step = 0  # the one that takes, or whose examples are in use
        self._asked: dict[int, _Asked] = {}
        self._prefetcher: OrderedPrefetcher[_Item, Outcome] | None = None
        self._read_s, self._counted = 0.0, NO_COUNTS

    def steps(self, plans: Iterable[StepPlan]) -> Iterator[StepExamples]:
        """One StepExamples per plan. Asking begins at once and goes on while the caller computes; plans are consumed
        lazily, as far ahead as the window reaches.
        """
        ahead, plans = tee(plans)
        prefetcher = self._portal.call(self._prefetch, self._items(ahead))
        self._prefetcher = prefetcher
        self._stack.callback(self._portal.call, prefetcher.aclose)
        return (self._take(prefetcher, plan) for plan in plans)

    def answer_rows(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Example]:
        """Examples of (index, row) pairs outside the stream, as epoch -1: the fixed validation slice.

        Rows that don't fit, that the teacher refuses, or whose completion was cut by length, are left out and logged.
        """
        examples = []
        for outcome in self._portal.call(unless_stopped, self._stop, self._answer_all, rows):
            if isinstance(outcome, Example):
                examples.append(outcome)
            else:
                log.warning("validation row %s is left out: %s", outcome.id, outcome.reason)
        return examples

    def observe(self, seen: StepSeen) -> None:
        """Learn from a step, as all workers met it, how far to ask ahead; where settings fix that, nothing."""
        if self._limits.observe(seen) and self._prefetcher is not None:
            self._portal.start_task_soon(self._prefetcher.resize, self._limits.size)

    def _take(self, prefetcher: OrderedPrefetcher[_Item, Outcome], plan: StepPlan) -> StepExamples:
        began = time.perf_counter()
        outcomes, prefetch = self._portal.call(unless_stopped, self._stop, self._outcomes, prefetcher, plan)
        waited_s, read_s = time.perf_counter() - began, self._reading.seconds
        stream_s, self._read_s = read_s - self._read_s, read_s
        examples = [outcome for outcome in outcomes if isinstance(outcome, Example)]
        unused = [outcome for outcome in outcomes if isinstance(outcome, Unused)]
        return StepExamples(
            plan=plan,
            examples=examples,
            unused=unused,
            began=began,
            waited_s=waited_s,
            stream_s=stream_s,
            prefetch=prefetch if self._teacher else None,
            teacher=self._teacher_stats(len(examples), unused),
        )

    async def _outcomes(
        self, prefetcher: OrderedPrefetcher[_Item, Outcome], plan: StepPlan
    ) -> tuple[list[Outcome], PrefetchStats]:
        """What became of a plan's prompts, in their order, and how far ahead asking was when the step took them."""
        self._step = plan.step
        window, in_flight, ready = prefetcher.size, prefetcher.in_flight, prefetcher.ready
        outcomes: list[Outcome] = []
        with self._saying(f"step {plan.step}", outcomes, len(plan.indices)):
            for _ in plan.indices:
                outcomes.append(await anext(prefetcher))
        asked = self._asked.pop(plan.step, _Asked(plan.step))
        stats = PrefetchStats(
            window=window,
            window_limit=self._limits.limit,
            in_flight=in_flight,
            ready=ready,
            latency_s=asked.latency_s,
            staleness=plan.step - asked.in_step,
            replicas=self._teacher.replicas() if self._teacher else None,
        )
        return outcomes, stats

    @contextmanager
    def _saying(self, who: str, outcomes: list[Outcome], wanted: int) -> Iterator[None]:
        """Log now and then what `who` waits for, while its `outcomes` come in."""
        what = "the teacher" if self._teacher else "its examples"

        async def say() -> None:
            began = time.perf_counter()
            for pause_s in chain([FIRST_SAID_S], repeat(SAID_EVERY_S)):
                await asyncio.sleep(pause_s)
                waited_s = time.perf_counter() - began
                log.info("%s waits for %s: %d of %d are here after %.0f s", who, what, len(outcomes), wanted, waited_s)

        task = asyncio.create_task(say())
        try:
            yield
        finally:
            task.cancel()

    def _teacher_stats(self, used: int, unused: list[Unused]) -> TeacherStats | None:
        """What became of the plan's prompts at the teacher, live or recorded, and what it met with since the last."""
        if not self._distils:
            return None
        unanswered = sum(prompt.kind in UNANSWERED for prompt in unused)
        answered = used + sum(prompt.kind in ANSWERED for prompt in unused)
        counts, before = self._teacher.counts() if self._teacher else NO_COUNTS, self._counted
        self._counted = counts
        new = {name: count - before[name] for name, count in counts.items()}
        return TeacherStats(answered + unanswered, unanswered, new)

    async def _prefetch(self, items: Iterable[_Item]) -> OrderedPrefetcher[_Item, Outcome]:
        return OrderedPrefetcher(items, self._build, self._limits.size, self._limits.most)

    def _items(self, plans: Iterable[StepPlan]) -> Iterator[_Item]:
        for plan in plans:
            self._step = self._step or plan.step  # what is asked before the first step is asked in it
            asked = self._asked[plan.step] = _Asked(self._step)
            for index in plan.indices:
                yield _Item(asked, Key(plan.epoch, index))

    async def _build(self, item: _Item) -> Outcome:
        began, row = time.perf_counter(), item.row
        if row is None:
            with self._reading:
                row = self._stream.row(item.key.epoch, item.key.index)
        outcome = await self._builder.build(item.key, row)
        item.asked.latency_s = max(item.asked.latency_s, time.perf_counter() - began)
        return outcome

    async def _answer_all(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Outcome]:
        items = [_Item(_Asked(0), Key(VALIDATION_EPOCH, index), row) for index, row in rows]
        prefetcher, outcomes = await self._prefetch(items), list[Outcome]()
        try:
            with self._saying("validation", outcomes, len(items)):
                async for outcome in prefetcher:
                    outcomes.append(outcome)
            return outcomes
        finally:
            await prefetcher.aclose()
