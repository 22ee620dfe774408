"""Where a step's examples come from: recorded completions alone, the live teacher, its record, or both."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from common.render import Renderer
from common.toolbench.rows import PromptRow
from student_trainer.examples import Example, StepExamples, StepPlan
from student_trainer.settings import TrainSettings
from student_trainer.stream import PromptStream


class Source:
    """An open source of examples; every call may raise UserError (teacher down, refused, record incomplete)."""

    revision: str | None
    """Revision of the live teacher's weights; None where no teacher is asked."""

    def steps(self, plans: Iterable[StepPlan]) -> Iterator[StepExamples]:
        """Yield one StepExamples per plan, asking ahead while the caller computes. Plans are consumed lazily."""
        raise NotImplementedError

    def answer_rows(self, rows: Iterable[tuple[int, PromptRow]]) -> list[Example]:
        """Examples of (position, row) pairs outside the stream, as epoch -1: the fixed validation slice.

        Rows that don't fit, or that the teacher refuses, are left out and logged.
        """
        raise NotImplementedError


@contextmanager
def open_source(
    settings: TrainSettings, stream: PromptStream, renderer: Renderer, vocabulary_size: int, rank: int
) -> Iterator[Source]:
    """Open the source that `settings` choose; a live teacher must first pass the handshake.

    Raises UserError: HandshakeError, TeacherUnavailable, a record that is missing.
    """
    raise NotImplementedError
