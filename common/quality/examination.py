"""The examination of a teacher: each held-out row is written by it, and its recorded completion scored."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.api import DistillRequest, GenerateOptions
from common.quality.qualification import Examined, Figures, figures_of
from common.render import Renderer
from common.teacher_client.failures import PromptFailed
from common.teacher_client.protocol import Teacher
from common.teacher_client.requests import to_score, to_write
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.fields import BadRecord
from common.toolbench.rows import PromptRow
from common.toolbench.system_prompt import offered_functions
from common.unusable_rows import UnusableRow
from common.wire import TeacherAnswer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """Who is asked, and how."""

    teacher: Teacher
    settings: TeacherClientSettings

    async def score(self, id: str, prompt: Sequence[int], completion: Sequence[int]) -> TeacherAnswer:
        """Its answer about a recorded completion, token ids."""
        return await self._ask(to_score(self.settings, id, prompt, completion))

    async def write(self, id: str, prompt: Sequence[int], options: GenerateOptions) -> TeacherAnswer:
        """Its own completion."""
        return await self._ask(to_write(self.settings, id, prompt, options))

    async def _ask(self, request: DistillRequest) -> TeacherAnswer:
        (answer,) = await self.teacher.distill(request)
        if answer.error is not None:
            raise PromptFailed("refused", f"{self.settings.model} refused it: {answer.error}")
        return answer


@dataclass(frozen=True)
class Examiner:
    """Asks `teacher`, and `student` where it is served too, about rows.

    `max_length`, the renderer's too, bounds prompt and completion together, `max_new_tokens` a written completion,
    `timeout_s` the whole examination. `progress` is told of each row that is settled.
    """

    teacher: Model
    student: Model | None
    renderer: Renderer
    max_length: int
    max_new_tokens: int
    concurrency: int
    timeout_s: float | None = None
    progress: Callable[[], None] = lambda: None

    async def examine(self, rows: Sequence[PromptRow]) -> Figures:
        """What the teacher came to on `rows`, with different ids; those that can't be judged are left out by name.

        Raises UserError where the teacher, or the student, can't go on.
        """
        places = asyncio.Semaphore(self.concurrency)
        examined: list[Examined] = []
        left_out = {row.id: f"no answer within {self.timeout_s} s" for row in rows}

        async def examine_row(row: PromptRow) -> None:
            async with places:
                try:
                    examined.append(await self._examine(row))
                    left_out.pop(row.id)
                except (UnusableRow, PromptFailed, BadRecord) as error:
                    left_out[row.id] = str(error)
                self.progress()

        await _within(self.timeout_s, [asyncio.ensure_future(examine_row(row)) for row in rows])
        for id, reason in left_out.items():
            log.warning("the examination of %s leaves out %s: %s", self.teacher.settings.model, id, reason)
        return figures_of(examined, left_out)

    async def _examine(self, row: PromptRow) -> Examined:
        offered = offered_functions(row.turns[0].content)
        prompt, scored, by_student = self.renderer.prompt_ids(row), None, None
        if row.completion is not None:
            recorded = self.renderer.sequence(row).completion_ids
            scored = await self.teacher.score(row.id, prompt, recorded)
            by_student = await self.student.score(row.id, prompt, recorded) if self.student else None
        written = await self.teacher.write(row.id, prompt, self._writing(len(prompt)))
        text = self.renderer.react(self.renderer.text(_without_end(written)))
        return Examined(row.id, offered, text, scored, by_student)

    def _writing(self, prompt: int) -> GenerateOptions:
        longest = min(self.max_new_tokens, self.max_length - prompt)
        return GenerateOptions(max_tokens=longest, temperature=0, stop_token_ids=self.renderer.stop_token_ids)


def _without_end(written: TeacherAnswer) -> list[int]:
    """The ids of a completion, without the one that ended it: a model may have ends that no file here names."""
    ids: list[int] = written.token_ids.tolist()
    return ids[:-1] if written.finish_reason == "stop" else ids


async def _within(timeout_s: float | None, work: Sequence[asyncio.Future[None]]) -> None:
    """Let `work` go on so long; the first error ends the rest and is raised."""
    if not work:
        return
    try:
        done, _ = await asyncio.wait(work, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
        for each in done:
            each.result()
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
