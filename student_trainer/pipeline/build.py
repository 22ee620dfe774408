"""Opening the source that the settings choose: recorded completions alone, the live teacher, its record, or both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil

from anyio.from_thread import BlockingPortal, start_blocking_portal

from common.errors import UserError
from common.render import Renderer
from common.run_folder import RunFolder
from common.teacher_client.alignment_probe import probe_prompts
from common.teacher_client.handshake import Handshake, Revisions
from common.teacher_client.pool import Connect, TeacherPool, connect_http, open_pool
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.distributed.consensus import unless_stopped
from student_trainer.pipeline.example_builders import Builder, DatasetBuilder, DistillBuilder, Stopwatch
from student_trainer.pipeline.example_source import ExampleSource
from student_trainer.pipeline.prefetch_limits import PrefetchLimits
from student_trainer.pipeline.recorded_teacher import RecordedTeacher
from student_trainer.pipeline.teacher_qualification import check_qualification
from student_trainer.pipeline.teacher_revision import recall, remember
from student_trainer.record.store import RecordReader, RecordWriter
from student_trainer.settings import LiveTeacherSettings, TrainSettings


@contextmanager
def open_source(
    settings: TrainSettings,
    stream: PromptStream,
    renderer: Renderer,
    vocabulary_size: int,
    rank: int,
    workers: int,
    connect: Connect = connect_http,
) -> Iterator[ExampleSource]:
    """Open the source that `settings` choose; a live teacher must first pass the handshake and, on
    rank 0, its qualification.

    `vocabulary_size` is the student's, `rank` this worker's, of `workers`.
    Raises UserError: HandshakeError, TeacherUnavailable, a record that is missing.
    """
    if settings.completion.writer.get("student"):
        raise UserError(
            "got completion.writer with student, which is not supported yet; use dataset, teacher or a mix of both"
        )
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        reading, pool, teacher = Stopwatch(), None, settings.teacher
        limits = PrefetchLimits.of(teacher, ceil(settings.batch_size / workers))
        builder: Builder = DatasetBuilder(renderer, reading)
        if teacher is not None:
            revisions = Revisions(teacher.on_new_revision, recall(settings.run_folder))
            if teacher.source != "record":
                prompts = probe_prompts((stream.row(0, index) for index in range(len(stream))), renderer)
                handshake = Handshake(teacher, renderer, settings.data.max_length, prompts, revisions)
                pool = _meet(settings, teacher, handshake, connect, portal, stack)
                if rank == 0:
                    check_qualification(settings, teacher, pool, renderer, revisions.newest, portal)
                if rank == 0 and revisions.first is not None:
                    remember(settings.run_folder, revisions.first)
            record, writer = _open_record(settings, teacher, revisions.newest if pool else None, rank, stack)
            answers = RecordedTeacher(record, pool, writer, revisions)
            builder = DistillBuilder(settings, teacher, renderer, answers, vocabulary_size, reading)
        yield ExampleSource(settings, stream, builder, reading, pool, limits, portal, stack)


def _meet(
    settings: TrainSettings,
    teacher: LiveTeacherSettings,
    handshake: Handshake,
    connect: Connect,
    portal: BlockingPortal,
    stack: ExitStack,
) -> TeacherPool:
    """The live teacher, once it passed the handshake; StopAsked while it is waited for."""
    opening = open_pool(teacher, handshake.check, connect)
    pool: TeacherPool = stack.enter_context(portal.wrap_async_context_manager(opening))
    portal.call(unless_stopped, RunFolder(settings.run_folder).stop, handshake.meet, pool)
    return pool


def _open_record(
    settings: TrainSettings, teacher: LiveTeacherSettings, revision: str | None, rank: int, stack: ExitStack
) -> tuple[RecordReader, RecordWriter]:
    """What is replayed, and where answers of this run go: into its own record, which a live run begins with too."""
    own, live = settings.files.record, teacher.source == "live"
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
