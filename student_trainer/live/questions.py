"""From a row to what the teacher is asked, and from its answer to the example that training sees."""

from dataclasses import dataclass

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.errors import UserError
from common.render import Renderer
from common.sequences import Provenance, Sequence
from common.toolbench.rows import PromptRow
from common.wire import TeacherAnswer
from student_trainer.examples import Example
from student_trainer.live.draws import DRAWS, draw
from student_trainer.live.record import Key
from student_trainer.settings import TeacherSettings, TrainSettings


@dataclass(frozen=True)
class Question:
    """A rendered prompt and its request: with a completion to score, or asking for one."""

    key: Key
    prompt_ids: tuple[int, ...]
    recorded: Sequence | None
    """The recorded completion to score; None where the teacher writes."""
    request: DistillRequest


class Questioner:
    """Turns rows into questions as the settings say."""

    def __init__(self, settings: TrainSettings, teacher: TeacherSettings, renderer: Renderer) -> None:
        self._settings, self._teacher, self._renderer = settings, teacher, renderer

    def pose(self, key: Key, row: PromptRow) -> Question:
        """Render `row` and say what to ask about it.

        Raises UnusableRow, or UserError when the dataset should have written a completion that the row lacks.
        """
        if self._writer(key) == "dataset":
            return self._to_score(key, row)
        return self._to_write(key, row)

    def _writer(self, key: Key) -> Provenance:
        """Who writes: drawn by the prompt's place alone."""
        share, seen = draw("writer", self._settings.seed, key.epoch, key.position) / DRAWS, 0.0
        writers = {writer: part for writer, part in self._settings.completion.writer.items() if part}
        for writer in sorted(writers):
            seen += writers[writer]
            if share < seen:
                break
        return writer

    def _to_score(self, key: Key, row: PromptRow) -> Question:
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion for the teacher to score; let the teacher write: "
                "set completion.writer to {teacher: 1.0}"
            )
        recorded = self._renderer.sequence(row)
        sequence = DistillSequence(
            id=row.id,
            prompt_token_ids=list(recorded.prompt_ids),
            completion_token_ids=list(recorded.completion_ids),
        )
        return Question(key, recorded.prompt_ids, recorded, self._request(sequence))

    def _to_write(self, key: Key, row: PromptRow) -> Question:
        prompt_ids, writing = self._renderer.prompt_ids(row), self._settings.completion
        options = GenerateOptions(
            max_tokens=min(writing.max_new_tokens, self._settings.data.max_length - len(prompt_ids)),
            temperature=writing.temperature,
            top_p=writing.top_p,
            seed=draw("sampling", self._settings.seed, *key),
            stop_token_ids=self._renderer.stop_token_ids,
        )
        sequence = DistillSequence(id=row.id, prompt_token_ids=prompt_ids, generate=options)
        return Question(key, tuple(prompt_ids), None, self._request(sequence))

    def _request(self, sequence: DistillSequence) -> DistillRequest:
        return DistillRequest(
            model=self._teacher.model,
            top_k=self._teacher.top_k,
            sequences=[sequence],
            logprob_dtype=self._teacher.logprob_dtype,
        )


def learn(question: Question, answer: TeacherAnswer) -> Example:
    """The example of a verified answer."""
    sequence = question.recorded or Sequence(
        answer.id,
        question.prompt_ids,
        tuple(answer.token_ids.tolist()),
        "teacher",
        "length" if answer.finish_reason == "length" else "stop",
    )
    return Example(sequence, answer, question.key.epoch, question.key.position)
