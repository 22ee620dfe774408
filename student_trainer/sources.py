"""Where a step's examples come from: recorded completions alone, the live teacher, its record, or both.

An event loop in a thread of its own reads rows, renders them and asks ahead, while the caller computes.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, suppress
from itertools import tee

from anyio.from_thread import BlockingPortal, start_blocking_portal

from common.client import TeacherClient, read_token
from common.errors import UserError
from common.render import DoesNotFit, Renderer
from common.toolbench.rows import PromptRow
from student_trainer import ledger
from student_trainer.answers import Answers, Teacher
from student_trainer.examples import Example, StepExamples, StepPlan
from student_trainer.handshake import Reader, shake_hands
from student_trainer.ledger import Unused
from student_trainer.makers import AnsweredMaker, Maker, RecordedMaker
from student_trainer.questions import Questioner
from student_trainer.record import Key, RecordReader, RecordWriter
from student_trainer.settings import TeacherSettings, TrainSettings
from student_trainer.stream import PromptStream
from student_trainer.window import Window

VALIDATION_EPOCH = -1
PROBE_PROMPTS = 8
"""Most prompts that the alignment is probed on; the first is enough unless the teacher ends its completion early."""
Outcome = Example | Unused
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
        revision: str | None,
    ) -> None:
        self._stream, self._portal, self._stack, self._maker = stream, portal, stack, maker
        self._run_folder = settings.run_folder
        self._size = settings.teacher.window if settings.teacher else settings.batch_size
        self.revision = revision

    def steps(self, plans: Iterable[StepPlan]) -> Iterator[StepExamples]:
        """One StepExamples per plan. Asking begins at once and goes on while the caller computes; plans are consumed
        lazily, as far ahead as the window reaches.
        """
        ahead, here = tee(plans)  # both are advanced in the loop's thread alone
        keys = (Key(plan.epoch, position) for plan in ahead for position in plan.positions)
        window = self._portal.call(self._open, keys)
        self._stack.callback(self._portal.call, window.aclose)
        return self._iterate(here, window)

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

    def _iterate(self, plans: Iterator[StepPlan], window: Window[Key, Outcome]) -> Iterator[StepExamples]:
        while True:
            began = time.perf_counter()
            taken = self._portal.call(_take, plans, window)
            if taken is None:
                return
            plan, outcomes = taken
            yield self._step(plan, outcomes, time.perf_counter() - began)

    def _step(self, plan: StepPlan, outcomes: list[Outcome], waited_s: float) -> StepExamples:
        unused = [outcome for outcome in outcomes if isinstance(outcome, Unused)]
        ledger.append_unused(self._run_folder, plan.step, unused)
        cut = sum(prompt.kind == "cut_by_length" for prompt in unused)
        examples = [outcome for outcome in outcomes if isinstance(outcome, Example)]
        return StepExamples(plan, examples, waited_s, len(unused) - cut, cut)

    async def _open(self, keys: Iterable[Key]) -> Window[Key, Outcome]:
        return Window(keys, self._make, self._size)

    async def _make(self, key: Key) -> Outcome:
        ((_, row),) = self._stream.rows(key.epoch, range(key.position, key.position + 1))
        return await self._maker.make(key, row)

    async def _make_all(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Outcome]:
        window = Window(rows, lambda pair: self._maker.make(Key(VALIDATION_EPOCH, pair[0]), pair[1]), self._size)
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
    connect: Connect = connect,
) -> Iterator[Source]:
    """Open the source that `settings` choose; a live teacher must first pass the handshake.

    `vocabulary_size` is the student's, `rank` this worker's.
    Raises UserError: HandshakeError, TeacherUnavailable, a record that is missing.
    """
    if settings.completion.writer.get("student"):
        raise UserError(
            "got completion.writer with student, which is not supported yet; use dataset, teacher or a mix of both"
        )
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        if settings.teacher is None:
            yield Source(settings, stream, portal, stack, RecordedMaker(renderer), None)
            return
        teacher, revision = None, None
        if settings.teacher.source != "record":
            teacher = stack.enter_context(portal.wrap_async_context_manager(connect(settings.teacher)))
            prompts = _probe_prompts(stream, renderer)
            reader = Reader(renderer.fingerprint, vocabulary_size, settings.data.max_length)
            revision = portal.call(shake_hands, teacher, settings.teacher, reader, prompts).revision
        record, writer = _open_record(settings, settings.teacher, revision, rank, stack)
        answers = Answers(record, teacher, writer, vocabulary_size, revision)
        questioner = Questioner(settings, settings.teacher, renderer)
        maker = AnsweredMaker(questioner, answers, settings.completion.keep_length_cut)
        yield Source(settings, stream, portal, stack, maker, revision)


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


async def _take(plans: Iterator[StepPlan], window: Window[Key, Outcome]) -> tuple[StepPlan, list[Outcome]] | None:
    plan = next(plans, None)
    return None if plan is None else (plan, [await anext(window) for _ in plan.positions])


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
