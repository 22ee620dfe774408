"""Opening the source that the settings choose: recorded completions alone, the live teacher, its record, or both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from math import ceil

from anyio.from_thread import start_blocking_portal

from common.calls import TeacherCalls
from common.client import read_token
from common.errors import UserError
from common.render import Renderer, UnusableRow
from student_trainer.live.answers import Answers
from student_trainer.live.makers import AnsweredMaker, RecordedMaker
from student_trainer.live.questions import Questioner
from student_trainer.live.record import RecordReader, RecordWriter
from student_trainer.live.sources import Source, Supply
from student_trainer.live.stopwatch import Stopwatch
from student_trainer.live.stream import PromptStream
from student_trainer.settings import TeacherSettings, TrainSettings
from student_trainer.teacher.handshake import Handshake, Reader
from student_trainer.teacher.pool import Connect, TeacherPool, open_pool
from student_trainer.teacher.revisions import Revisions, recall, remember
from student_trainer.teacher.teacher_news import NO_COUNTS, Counts, Newsagent

PROBE_PROMPTS = 8
"""Most prompts that the alignment is probed on; the first is enough unless the teacher ends its completion early."""


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
            yield Source(settings, stream, Supply(RecordedMaker(renderer, reading), reading), share, portal, stack)
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
        supply = Supply(maker, reading, teacher, Newsagent(partial(_counts, teacher, answers)))
        yield Source(settings, stream, supply, share, portal, stack)


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
    """The first PROBE_PROMPTS prompts that can be rendered."""
    prompts: list[list[int]] = []
    for _, row in stream.rows(0, range(len(stream))):
        with suppress(UnusableRow):
            prompts.append(renderer.prompt_ids(row))
        if len(prompts) == PROBE_PROMPTS:
            break
    if not prompts:
        raise UserError("no prompt of data.train fits data.max_length; raise it")
    return prompts
