"""Where a step's examples come from: recorded completions alone, the live teacher, its record, or both.

An event loop in a thread of its own reads rows, renders them and asks ahead, while the caller computes.
"""

import logging
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from math import ceil
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from common.calls import TeacherCalls
from common.client import read_token
from common.errors import UserError
from common.render import DoesNotFit, Renderer
from common.toolbench.rows import PromptRow
from student_trainer.agreement import unless_stopped
from student_trainer.answers import Answers
from student_trainer.examples import UNANSWERED, Ahead, Example, StepExamples, StepPlan, Unused
from student_trainer.handshake import Handshake, Reader
from student_trainer.lookahead import Lookahead, Outcome, Taken
from student_trainer.makers import AnsweredMaker, Maker, RecordedMaker
from student_trainer.pool import Connect as Connect
from student_trainer.pool import TeacherPool, open_pool
from student_trainer.questions import Questioner
from student_trainer.record import Key, RecordReader, RecordWriter
from student_trainer.revisions import Revisions, recall, remember
from student_trainer.settings import TeacherSettings, TrainSettings
from student_trainer.stopwatch import Stopwatch
from student_trainer.stream import PromptStream
from student_trainer.teacher_news import NO_COUNTS, NO_NEWS, Counts, Newsagent, TeacherNews
from student_trainer.window import Window
from student_trainer.window_size import StepSeen, WindowSize

VALIDATION_EPOCH = -1
PROBE_PROMPTS = 8
"""Most prompts that the alignment is probed on; the first is enough unless the teacher ends its completion early."""

log = logging.getLogger(__name__)


class Source:
    """An open source of examples.

    Every call may raise UserError (teacher down, request refused, record incomplete), or StopAsked while it waits.
    """

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
        teacher: TeacherPool | None = None,
        revision: str | None = None,
        newsagent: Newsagent | None = None,
    ) -> None:
        self._stream, self._portal, self._stack, self._maker = stream, portal, stack, maker
        self._run_folder, self._reading, self._teacher, self.revision = settings.run_folder, reading, teacher, revision
        self._newsagent = newsagent
        fixed = settings.teacher.window if settings.teacher else None
        self._limit = fixed or (settings.teacher.max_window if settings.teacher else 2 * share)
        self._rule = None if fixed or teacher is None else WindowSize(share, self._limit)
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
        seen = StepSeen(metrics["time/waited_s"], metrics["time/step_s"], metrics["pipeline/latency_s"])
        self._size, before = self._rule.see(seen), self._size
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
        read_s, news = self._reading.seconds, self._news(len(examples), unused)
        stream_s, self._read_s = read_s - self._read_s, read_s
        return StepExamples(taken.plan, examples, unused, began, waited_s, stream_s, self._ahead(taken), news)

    def _news(self, used: int, unused: list[Unused]) -> TeacherNews:
        if self._newsagent is None:
            return NO_NEWS
        unanswered = tuple(prompt.reason for prompt in unused if prompt.kind in UNANSWERED)
        cut = sum(prompt.kind == "cut_by_length" for prompt in unused)
        return TeacherNews(used + cut + len(unanswered), unanswered, self._newsagent.news())

    def _ahead(self, taken: Taken) -> Ahead | None:
        if self._teacher is None:
            return None
        return Ahead(
            taken.window, self._limit, taken.in_flight, taken.ready, taken.latency_s, taken.staleness,
            self._teacher.replicas(),
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


def connect(settings: TeacherSettings) -> TeacherCalls:
    """What asks the endpoint that the settings name, once per call."""
    (url,) = settings.urls
    return TeacherCalls(url, read_token(settings.token_file), settings.timeout_s)


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
            yield Source(settings, stream, portal, stack, maker, reading, share)
            return
        teacher = revision = None
        revisions = Revisions(settings.teacher.on_new_revision, recall(settings.run_folder))
        if settings.teacher.source != "record":
            reader = Reader(renderer.fingerprint, vocabulary_size, settings.data.max_length)
            handshake = Handshake(settings.teacher, reader, _probe_prompts(stream, renderer), revisions)
            pool = open_pool(settings.teacher, settings.run_folder, connect, handshake.check)
            teacher = stack.enter_context(portal.wrap_async_context_manager(pool))
            handshake.begun, revision = True, revisions.newest
            if rank == 0 and revisions.first is not None:
                remember(settings.run_folder, revisions.first)
        record, writer = _open_record(settings, settings.teacher, revision, rank, stack)
        answers = Answers(record, teacher, writer, vocabulary_size, revisions)
        questioner = Questioner(settings, settings.teacher, renderer)
        maker = AnsweredMaker(questioner, answers, settings.completion.keep_length_cut, reading)
        newsagent = Newsagent(partial(_counts, teacher, answers))
        yield Source(settings, stream, portal, stack, maker, reading, share, teacher, revision, newsagent)


def _open_record(
    settings: TrainSettings, teacher: TeacherSettings, revision: str | None, rank: int, stack: ExitStack
) -> tuple[RecordReader, RecordWriter]:
    """What is replayed, and where answers of this run go: into its own record, which a live run begins with too."""
    own, live = settings.run_folder / "record", teacher.source == "live"
    writer = stack.enter_context(RecordWriter(own, rank, teacher.top_k, teacher.logprob_dtype))
    folders = [own] if live or teacher.record_folder is None else [teacher.record_folder, own]
    record = RecordReader(folders, revision, only_same=live)
    stack.callback(record.close)
    if teacher.source == "record" and not len(record):
        raise UserError(
            f"no recorded answers in {', '.join(map(str, folders))}; set teacher.record_folder to the folder `record` "
            "of a finished run, or teacher.source: live"
        )
    return record, writer


def _counts(teacher: TeacherPool | None, answers: Answers) -> Counts:
    counts = teacher.counts() if teacher else NO_COUNTS
    return counts | {"rejected": counts["rejected"] + answers.rejected}


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
