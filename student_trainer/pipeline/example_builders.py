"""Builders turn one row into the example that training sees, or say why it gives none."""

import time
from types import TracebackType
from typing import Protocol

from common.api import DistillRequest, GenerateOptions
from common.errors import UserError
from common.render import Renderer
from common.sequences import Provenance, Sequence
from common.teacher_client.failures import PromptFailed
from common.teacher_client.requests import to_score, to_write
from common.toolbench.rows import PromptRow
from common.unusable_rows import UnusableRow
from common.wire import TeacherAnswer
from student_trainer.data.plan import Example, Key, Unused
from student_trainer.data.prompt_stream import HASHES, hash63
from student_trainer.pipeline.recorded_teacher import RecordedTeacher
from student_trainer.settings import LiveTeacherSettings, TrainSettings


class Stopwatch:
    """`seconds` spent inside `with stopwatch:`, one passage at a time; any thread may read them."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds += time.perf_counter() - self._began


class Builder(Protocol):
    """Builds examples, many at a time."""

    async def build(self, key: Key, row: PromptRow) -> Example | Unused:
        """The example of `row`, which stands at `key`; UserError where the run can't go on."""


class DatasetBuilder:
    """Recorded completions alone, without a teacher. `rendering` runs while rows are rendered."""

    def __init__(self, renderer: Renderer, rendering: Stopwatch) -> None:
        self._renderer, self._rendering = renderer, rendering

    async def build(self, key: Key, row: PromptRow) -> Example | Unused:
        """The recorded completion of `row`; UserError where it has none."""
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion; mode sft needs recorded completions: "
                "remove such rows from data.train, or set mode: kd with the teacher as writer"
            )
        try:
            with self._rendering:
                return Example(self._renderer.sequence(row), None, key)
        except UnusableRow as error:
            return Unused(row.id, key, error.kind, str(error))


class DistillBuilder:
    """Completions with what `answers` say about them: recorded ones, or ones that the teacher writes."""

    def __init__(
        self,
        settings: TrainSettings,
        teacher: LiveTeacherSettings,
        renderer: Renderer,
        answers: RecordedTeacher,
        vocabulary_size: int,
        rendering: Stopwatch,
    ) -> None:
        """`vocabulary_size` is the student's; `rendering` runs while rows are rendered."""
        self._settings, self._teacher, self._renderer = settings, teacher, renderer
        self._answers, self._vocabulary_size, self._rendering = answers, vocabulary_size, rendering

    async def build(self, key: Key, row: PromptRow) -> Example | Unused:
        """`row` as the teacher answered it; Unused where it can't be rendered, failed, or was cut by length.

        Raises UserError too when the dataset should have written a completion that the row lacks.
        """
        try:
            with self._rendering:
                request = self._to_score(row) if self._writer(key) == "dataset" else self._to_write(key, row)
        except UnusableRow as error:
            return Unused(row.id, key, error.kind, str(error))
        try:
            answer = await self._answers.get(key, request)
        except PromptFailed as failure:
            return Unused(row.id, key, failure.kind, failure.reason)
        return self._example(key, request, answer)

    def _writer(self, key: Key) -> Provenance:
        """Who writes: where several may, drawn by the prompt's place alone."""
        writers = {writer: part for writer, part in self._settings.completion.writer.items() if part}
        if len(writers) == 1:
            return next(iter(writers))
        share, seen = hash63("writer", self._settings.seed, key.epoch, key.index) / HASHES, 0.0
        for writer in sorted(writers):
            seen += writers[writer]
            if share < seen:
                break
        return writer

    def _to_score(self, row: PromptRow) -> DistillRequest:
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion for the teacher to score; let the teacher write: "
                "set completion.writer to {teacher: 1.0}"
            )
        recorded = self._renderer.sequence(row)
        return to_score(self._teacher, row.id, recorded.prompt_ids, recorded.completion_ids)

    def _to_write(self, key: Key, row: PromptRow) -> DistillRequest:
        prompt_ids, writing = self._renderer.prompt_ids(row), self._settings.completion
        options = GenerateOptions(
            max_tokens=min(writing.max_new_tokens, self._settings.data.max_length - len(prompt_ids)),
            temperature=writing.temperature,
            top_p=writing.top_p,
            seed=hash63("sampling", self._settings.seed, key.epoch, key.index),
            stop_token_ids=self._renderer.stop_token_ids,
        )
        return to_write(self._teacher, row.id, prompt_ids, options)

    def _example(self, key: Key, request: DistillRequest, answer: TeacherAnswer) -> Example | Unused:
        if answer.finish_reason == "length" and not self._settings.completion.keep_length_cut:
            return Unused(answer.id, key, "cut_by_length", f"no end within {len(answer)} tokens")
        if (largest := int(answer.token_ids.max())) >= self._vocabulary_size:
            reason = f"the teacher wrote token {largest}, the student has rows for {self._vocabulary_size}"
            return Unused(answer.id, key, "unknown_token", reason)
        (asked,) = request.sequences
        sequence = Sequence(
            answer.id,
            tuple(asked.prompt_token_ids),
            tuple(answer.token_ids.tolist()),
            "teacher" if asked.generate else "dataset",
            "length" if answer.finish_reason == "length" else "stop",
        )
        return Example(sequence, answer, key)
