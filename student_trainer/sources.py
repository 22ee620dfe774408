"""Where a step's examples come from: recorded completions alone, the live teacher, its record, or both.

An event loop in a thread of its own reads rows, renders them and asks ahead, while the caller computes.
"""

import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, suppress
from math import ceil
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from common.api import TeacherCard
from common.client import TeacherClient, read_token
from common.errors import UserError
from common.render import DoesNotFit, Renderer
from common.toolbench.rows import PromptRow
from student_trainer import ledger
from student_trainer.answers import Answers, Teacher
from student_trainer.examples import Ahead, Example, StepExamples, StepPlan
from student_trainer.handshake import Reader, shake_hands
from student_trainer.ledger import Unused
from student_trainer.lookahead import Lookahead, Outcome, Taken
from student_trainer.makers import AnsweredMaker, Maker, RecordedMaker
from student_trainer.questions import Questioner
from student_trainer.record import Key, RecordReader, RecordWriter
from student_trainer.settings import TeacherSettings, TrainSettings
from student_trainer.stopwatch import Stopwatch
from student_trainer.stream import PromptStream
from student_trainer.window import Window
from student_trainer.window_size import StepSeen, WindowSize

VALIDATION_EPOCH = -1
PROBE_PROMPTS = 8
"""Most prompts that the alignment is probed on; the first is enough unless the teacher ends its completion early."""
Connect = Callable[[TeacherSettings], AbstractAsyncContextManager[Teacher]]

log = logging.getLogger(__name__)


class Source:
    """An open source of examples. Every call may raise UserError: teacher down, request refused, record incomplete."""

    revision: str | None
    """Revision of the live teacher's weights; None where no teacher is asked."""

    def __init__(
        self,
        settings: TrainSettings,
        stream: PromptStream,
        portal: BlockingPortal,
        stack: ExitStack,
        maker: Maker,
        reading: Stopwatch,
        share: int,
        card: TeacherCard | None,
        revision: str | None,
    ) -> None:
        self._stream, self._portal, self._stack, self._maker = stream, portal, stack, maker
        self._run_folder, self._reading, self._card, self.revision = settings.run_folder, reading, card, revision
        fixed = settings.teacher.window if settings.teacher else None
        self._limit = fixed or (settings.teacher.max_window if settings.teacher else 2 * share)
        self._rule = None if fixed or card is None else WindowSize(share, self._limit)
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
        for outcome in self._portal.call(self._make_all, rows):
            if isinstance(outcome, Example):
                examples.append(outcome)
            else:
                log.warning("validation row %s is left out: %s", outcome.id, outcome.reason)
        return examples

    def see(self, metrics: dict[str, float]) -> None:
        """Learn from the metrics of a step how far to ask ahead; where settings fix that, nothing."""
        if self._rule is None or self._lookahead is None:
            return
        seen = StepSeen(metrics["time/waited_s"], metrics["time/step_s"], metrics["pipeline/latency_s"])
        self._size, before = self._rule.see(seen), self._size
        if self._size != before:
            self._portal.start_task_soon(self._lookahead.resize, self._size)

    def _iterate(self, lookahead: Lookahead) -> Iterator[StepExamples]:
        while True:
            began = time.perf_counter()
            taken = self._portal.call(lookahead.take)
            if taken is None:
                return
            yield self._step(taken, began)

    def _step(self, taken: Taken, began: float) -> StepExamples:
        waited_s = time.perf_counter() - began
        unused = [outcome for outcome in taken.outcomes if isinstance(outcome, Unused)]
        ledger.append_unused(self._run_folder, taken.plan.step, unused)
        cut = sum(prompt.kind == "cut_by_length" for prompt in unused)
        examples = [outcome for outcome in taken.outcomes if isinstance(outcome, Example)]
        read_s, ahead = self._reading.seconds, self._ahead(taken)
        stream_s, self._read_s = read_s - self._read_s, read_s
        return StepExamples(taken.plan, examples, began, waited_s, stream_s, len(unused) - cut, cut, ahead)

    def _ahead(self, taken: Taken) -> Ahead | None:
        if self._card is None:
            return None
        return Ahead(
            taken.window, self._limit, taken.in_flight, taken.ready, taken.latency_s, taken.staleness,
            self._card.replicas,
        )  # fmt: skip

    async def _look_ahead(self, plans: Iterable[StepPlan]) -> Lookahead:
        return Lookahead(plans, self._make, self._size, self._most)

    async def _make(self, key: Key) -> Outcome:
        with self._reading:
            ((_, row),) = self._stream.rows(key.epoch, range(key.position, key.position + 1))
        return await self._maker.make(key, row)

    async def _make_all(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Outcome]:
        def make(pair: tuple[int, PromptRow]) -> Coroutine[Any, Any, Outcome]:
            return self._maker.make(Key(VALIDATION_EPOCH, pair[0]), pair[1])

        window = Window(rows, make, self._size, self._most)
        try:
            return [outcome async for outcome in window]
        finally:
            await window.aclose()


def connect(settings: TeacherSettings) -> TeacherClient:
    """The client of the teacher that the settings name."""
    return TeacherClient(settings.url, read_token(settings.token_file), settings.timeout_s, settings.attempts)


@contextmanager
def open_source(
    settings: TrainSettings,
    stream: PromptStream,
    renderer: Renderer,
    vocabulary_size: int,
    rank: int,
    workers: int,
    connect: Connect = connect,
) -> Iterator[Source]:
    """Open the source that `settings` choose; a live teacher must first pass the handshake.

    `vocabulary_size` is the student's, `rank` this worker's, of `workers`.
    Raises UserError: HandshakeError, TeacherUnavailable, a record that is missing.
    """
    if settings.completion.writer.get("student"):
        raise UserError(
            "got completion.writer with student, which is not supported yet; use dataset, teacher or a mix of both"
        )
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        reading, share = Stopwatch(), ceil(settings.batch_size / workers)
        if settings.teacher is None:
            maker: Maker = RecordedMaker(renderer, reading)
            yield Source(settings, stream, portal, stack, maker, reading, share, None, None)
            return
        teacher, card, revision = None, None, None
        if settings.teacher.source != "record":
            teacher = stack.enter_context(portal.wrap_async_context_manager(connect(settings.teacher)))
            prompts = _probe_prompts(stream, renderer)
            reader = Reader(renderer.fingerprint, vocabulary_size, settings.data.max_length)
            revision = portal.call(shake_hands, teacher, settings.teacher, reader, prompts).revision
            card = portal.call(teacher.teacher)
        record, writer = _open_record(settings, settings.teacher, rank, stack)
        answers = Answers(record, teacher, writer, vocabulary_size, revision)
        questioner = Questioner(settings, settings.teacher, renderer)
        maker = AnsweredMaker(questioner, answers, settings.completion.keep_length_cut, reading)
        yield Source(settings, stream, portal, stack, maker, reading, share, card, revision)


def _open_record(
    settings: TrainSettings, teacher: TeacherSettings, rank: int, stack: ExitStack
) -> tuple[RecordReader | None, RecordWriter]:
    """What is replayed, if anything, and where answers of this run go: into its own record."""
    own = settings.run_folder / "record"
    writer = RecordWriter(own, rank, teacher.top_k, teacher.logprob_dtype)
    stack.callback(writer.close)
    if teacher.source == "live":
        return None, writer
    folders = [own] if teacher.record_folder is None else [teacher.record_folder, own]
    record = RecordReader(folders)
    stack.callback(record.close)
    if teacher.source == "record" and not len(record):
        raise UserError(
            f"no recorded answers in {', '.join(map(str, folders))}; set teacher.record_folder to the folder `record` "
            "of a finished run, or teacher.source: live"
        )
    return record, writer


def _probe_prompts(stream: PromptStream, renderer: Renderer) -> list[list[int]]:
    """The first PROBE_PROMPTS prompts that fit."""
    prompts: list[list[int]] = []
    for _, row in stream.rows(0, range(len(stream))):
        with suppress(DoesNotFit):
            prompts.append(renderer.prompt_ids(row))
        if len(prompts) == PROBE_PROMPTS:
            break
    if not prompts:
        raise UserError("no prompt of data.train fits data.max_length; raise it")
    return prompts
