"""Judging one served model on one group of rows: loss of the recorded completions, and form of the ones it writes.

Both go through the teacher's HTTP API, students included: what is judged is what is served. Each row is asked about by
itself; one that can't be judged is left out by name.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from common.api import DistillRequest, GenerateOptions
from common.errors import UserError
from common.render import Renderer
from common.sequences import Sequence
from common.teacher_client.failures import PromptFailed
from common.teacher_client.protocol import Teacher
from common.teacher_client.requests import to_score, to_write
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow
from common.toolbench.system_prompt import offered_functions
from common.toolbench.tools import tools_of
from common.unusable_rows import UnusableRow
from common.wire import TeacherAnswer
from eval.metrics.loss import part_losses
from eval.metrics.measures import measures_of
from eval.results import RowResult
from eval.row_sources import RowSources

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What came of a group's rows: results of those that could be judged, and why the others, by id, could not."""

    rows: list[RowResult]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Task:
    """A row as it is asked about."""

    row: PromptRow
    sequence: Sequence
    offered: list[dict[str, Any]]


@dataclass(frozen=True)
class Judge:
    """Asks `teacher`, as `asked` says, about its model, which the report calls `name`.

    `max_length`, the renderer's too, bounds prompt and completion together. `progress` is told of each row that is
    settled. `sources` says what is known about rows beyond themselves.
    """

    teacher: Teacher
    name: str
    asked: TeacherClientSettings
    renderer: Renderer
    max_length: int
    max_new_tokens: int
    concurrency: int
    progress: Callable[[], None]
    sources: RowSources

    async def judge(self, group: str, rows: list[PromptRow]) -> Judged:
        """Score and rewrite the completions of `rows`; those that can't be judged are left out, and logged by name.

        Raises UserError when none can be judged, a row has no recorded completion, or the teacher can't go on.
        """
        left_out: dict[str, str] = {}
        places = asyncio.Semaphore(self.concurrency)

        async def judge_row(row: PromptRow) -> RowResult | None:
            try:
                async with places:
                    return await self._judge_row(group, row)
            except (UnusableRow, PromptFailed, _Unjudgeable) as error:
                log.warning("%s on %s leaves out %s: %s", self.name, group, row.id, error)
                left_out[row.id] = str(error)
                return None
            finally:
                self.progress()

        outcomes = await run_together([judge_row(row) for row in rows])
        judged = [outcome for outcome in outcomes if outcome is not None]
        if not judged:
            raise UserError(f"no row of the group {group!r} can be judged; the first: {next(iter(left_out.items()))}")
        return Judged(judged, left_out)

    async def _judge_row(self, group: str, row: PromptRow) -> RowResult:
        task = self._task(row)
        id, prompt, completion = row.id, task.sequence.prompt_ids, task.sequence.completion_ids
        scored = await self._ask(to_score(self.asked, id, prompt, completion))
        written = await self._ask(to_write(self.asked, id, prompt, self._writing(task.sequence)))
        return self._result(group, task, scored, written)

    def _task(self, row: PromptRow) -> _Task:
        if row.completion is None:
            raise UserError(
                f"row {row.id} has no recorded completion to score; evaluate on converted traces, not queries"
            )
        sequence = self.renderer.sequence(row)
        try:
            return _Task(row, sequence, offered_functions(row.turns[0].content))
        except UserError as error:
            raise _Unjudgeable(str(error)) from None

    def _writing(self, sequence: Sequence) -> GenerateOptions:
        return GenerateOptions(
            max_tokens=min(self.max_new_tokens, self.max_length - len(sequence.prompt_ids)),
            temperature=0,
            stop_token_ids=self.renderer.stop_token_ids,
        )

    async def _ask(self, request: DistillRequest) -> TeacherAnswer:
        (answer,) = await self.teacher.distill(request)
        if answer.error is not None:
            raise _Unjudgeable(f"{self.asked.model} refused it: {answer.error}")
        return answer

    def _result(self, group: str, task: _Task, scored: TeacherAnswer, written: TeacherAnswer) -> RowResult:
        row, parts = task.row, part_losses(scored, self.renderer.parts(task.row))
        ids = _without_end(written)
        text = self.renderer.react(self.renderer.text(ids))
        tools = tools_of(task.offered) or [""]
        return RowResult(
            model=self.name,
            group=group,
            row=row.id,
            trace=row.trace,
            step=row.step,
            tool=tools[0],
            tools=tools,
            category=self.sources.categories.get(tools[0]),
            tokens=sum(part.tokens for part in parts.values()),
            nats=sum(part.nats for part in parts.values()),
            floor_nats=self.sources.floors.get((row.query, row.completion or "")),
            parts=parts,
            written_tokens=len(ids),
            measures=measures_of(row.completion or "", text, task.offered, written.finish_reason == "length"),
        )


def _without_end(written: TeacherAnswer) -> list[int]:
    """The ids of a completion, without the one that ended it: a model may have ends that no file here names."""
    ids: list[int] = written.token_ids.tolist()
    return ids[:-1] if written.finish_reason == "stop" else ids


class _Unjudgeable(Exception):
    """A row that this model can't be judged on."""


async def run_together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each of `work` returns; the first error ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def first_rows(rows: Iterable[PromptRow], limit: int, group: str) -> list[PromptRow]:
    """The group's first `limit` rows; an empty group is a UserError."""
    chosen = list(islice(rows, limit))
    if not chosen:
        raise UserError(f"the group {group!r} holds no rows; check its folder")
    return chosen
