"""Makers turn one row into the example that training sees, or say why it gives none."""

from typing import Protocol

from common.errors import UserError
from common.render import Renderer, UnusableRow
from common.toolbench.rows import PromptRow
from student_trainer.examples import Example, Unused
from student_trainer.live.answers import Answers, kind_of
from student_trainer.live.questions import Questioner, learn
from student_trainer.live.record import Key
from student_trainer.live.stopwatch import Stopwatch


class Maker(Protocol):
    """Makes examples, many at a time."""

    async def make(self, key: Key, row: PromptRow) -> Example | Unused:
        """The example of `row`, which stands at `key`; UserError where the run can't go on."""


class RecordedMaker:
    """Recorded completions alone, without a teacher."""

    def __init__(self, renderer: Renderer, rendering: Stopwatch) -> None:
        self._renderer, self._rendering = renderer, rendering

    async def make(self, key: Key, row: PromptRow) -> Example | Unused:
        """The recorded completion of `row`; UserError where it has none."""
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion; mode sft needs recorded completions: "
                "remove such rows from data.train, or set mode: kd with the teacher as writer"
            )
        try:
            with self._rendering:
                return Example(self._renderer.sequence(row), None, key.epoch, key.position)
        except UnusableRow as error:
            return Unused(row.id, key.epoch, key.position, error.kind, str(error))


class AnsweredMaker:
    """Completions with what the teacher says about them."""

    def __init__(self, questioner: Questioner, answers: Answers, keep_length_cut: bool, rendering: Stopwatch) -> None:
        self._questioner, self._answers, self._rendering = questioner, answers, rendering
        self._keep_length_cut = keep_length_cut

    async def make(self, key: Key, row: PromptRow) -> Example | Unused:
        """`row` as the teacher answered it; Unused where it can't be rendered, failed, or was cut by length."""
        try:
            with self._rendering:
                question = self._questioner.pose(key, row)
        except UnusableRow as error:
            return Unused(row.id, key.epoch, key.position, error.kind, str(error))
        answer = await self._answers.get(key, question.request)
        if answer.error is not None:
            return Unused(row.id, key.epoch, key.position, kind_of(answer.error), answer.error)
        if answer.finish_reason == "length" and not self._keep_length_cut:
            return Unused(row.id, key.epoch, key.position, "cut_by_length", f"no end within {len(answer)} tokens")
        return learn(question, answer)
