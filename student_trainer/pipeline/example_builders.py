"""Builders turn one row into the example that training sees, or say why it gives none."""

from typing import Protocol

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.errors import UserError
from common.render import DoesNotFit, Renderer
from common.sequences import Provenance, Sequence
from common.teacher_client.failures import PromptFailed
from common.toolbench.rows import PromptRow
from common.wire import TeacherAnswer
from student_trainer.data.hashed_random import DRAWS, draw
from student_trainer.data.plan import Example, Key, Unused
from student_trainer.pipeline.recorded_teacher import RecordedTeacher
from student_trainer.pipeline.stopwatch import Stopwatch
from student_trainer.settings import LiveTeacherSettings, TrainSettings


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
        except DoesNotFit as error:
            return Unused(row.id, key, "does_not_fit", str(error))


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
        """`row` as the teacher answered it; Unused where it doesn't fit, failed, or was cut by length.

        Raises UserError too when the dataset should have written a completion that the row lacks.
        """
        try:
            with self._rendering:
                asked = self._to_score(row) if self._writer(key) == "dataset" else self._to_write(key, row)
        except DoesNotFit as error:
            return Unused(row.id, key, "does_not_fit", str(error))
        try:
            answer = await self._answers.get(key, self._request(asked))
        except PromptFailed as failure:
            return Unused(row.id, key, failure.kind, failure.reason)
        return self._example(key, asked, answer)

    def _writer(self, key: Key) -> Provenance:
        """Who writes: drawn by the prompt's place alone."""
        share, seen = draw("writer", self._settings.seed, key.epoch, key.index) / DRAWS, 0.0
        writers = {writer: part for writer, part in self._settings.completion.writer.items() if part}
        for writer in sorted(writers):
            seen += writers[writer]
            if share < seen:
                break
        return writer

    def _to_score(self, row: PromptRow) -> DistillSequence:
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion for the teacher to score; let the teacher write: "
                "set completion.writer to {teacher: 1.0}"
            )
        recorded = self._renderer.sequence(row)
        prompt, completion = list(recorded.prompt_ids), list(recorded.completion_ids)
        return DistillSequence(id=row.id, prompt_token_ids=prompt, completion_token_ids=completion)

    def _to_write(self, key: Key, row: PromptRow) -> DistillSequence:
        prompt_ids, writing = self._renderer.prompt_ids(row), self._settings.completion
        options = GenerateOptions(
            max_tokens=min(writing.max_new_tokens, self._settings.data.max_length - len(prompt_ids)),
            temperature=writing.temperature,
            top_p=writing.top_p,
            seed=draw("sampling", self._settings.seed, key.epoch, key.index),
            stop_token_ids=self._renderer.stop_token_ids,
        )
        return DistillSequence(id=row.id, prompt_token_ids=prompt_ids, generate=options)

    def _request(self, sequence: DistillSequence) -> DistillRequest:
        teacher = self._teacher
        return DistillRequest(
            model=teacher.model, top_k=teacher.top_k, sequences=[sequence], logprob_dtype=teacher.logprob_dtype
        )

    def _example(self, key: Key, asked: DistillSequence, answer: TeacherAnswer) -> Example | Unused:
        if answer.finish_reason == "length" and not self._settings.completion.keep_length_cut:
            return Unused(answer.id, key, "cut_by_length", f"no end within {len(answer)} tokens")
        if (largest := int(answer.token_ids.max())) >= self._vocabulary_size:
            reason = f"the teacher wrote token {largest}, the student has rows for {self._vocabulary_size}"
            return Unused(answer.id, key, "unknown_token", reason)
        sequence = Sequence(
            answer.id,
            tuple(asked.prompt_token_ids),
            tuple(answer.token_ids.tolist()),
            "teacher" if asked.generate else "dataset",
            "length" if answer.finish_reason == "length" else "stop",
        )
        return Example(sequence, answer, key)
