"""Judging one served model on one group of rows: loss of the recorded completions, and form of the ones it writes.

Both go through the teacher's HTTP API, students included: what is judged is what is served. Each row is asked about by
itself; one that can't be judged is left out by name.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from common.api import DistillRequest, GenerateOptions
from common.errors import UserError
from common.quality.completions import check_completion
from common.render import Renderer
from common.sequences import Sequence
from common.teacher_client.failures import PromptFailed
from common.teacher_client.protocol import Teacher
from common.teacher_client.requests import to_score, to_write
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow
from common.toolbench.system_prompt import offered_functions
from common.unusable_rows import UnusableRow
from common.wire import TeacherAnswer
from eval.metrics.form import CHECKS, same_action, share
from eval.metrics.loss import mean_loss

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """What one model is worth on one group. Shares are of `rows`; loss is in nats per completion token."""

    model: str
    group: str
    rows: int
    tokens: int
    loss: float
    perplexity: float
    parses: float
    names_offered_api: float
    arguments_are_json: float
    required_present: float
    valid: float
    """Share of completions that pass all four checks of their form."""
    action_match: float
    """Share whose Action is the recorded one."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Rows of the group that could not be judged, by id, and why; `rows` doesn't count them."""


@dataclass(frozen=True)
class _Task:
    """A row as it is asked about."""

    row: PromptRow
    sequence: Sequence
    offered: list[dict[str, Any]]


@dataclass(frozen=True)
class _Judged:
    """The two answers about a row."""

    task: _Task
    scored: TeacherAnswer
    written: TeacherAnswer


@dataclass(frozen=True)
class Judge:
    """Asks `teacher`, as `asked` says, about its model, which the report calls `name`.

    `max_length`, the renderer's too, bounds prompt and completion together. `progress` is told of each row that is
    settled.
    """

    teacher: Teacher
    name: str
    asked: TeacherClientSettings
    renderer: Renderer
    max_length: int
    max_new_tokens: int
    concurrency: int
    progress: Callable[[], None]

    async def judge(self, group: str, rows: list[PromptRow]) -> Judgement:
        """Score and rewrite the completions of `rows`; those that can't be judged are left out, and logged by name.

        Raises UserError when none can be judged, a row has no recorded completion, or the teacher can't go on.
        """
        left_out: dict[str, str] = {}
        places = asyncio.Semaphore(self.concurrency)

        async def judge_row(row: PromptRow) -> _Judged | None:
            try:
                async with places:
                    return await self._judge_row(row)
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
        return self._judgement(group, judged, left_out)

    async def _judge_row(self, row: PromptRow) -> _Judged:
        task = self._task(row)
        id, prompt, completion = row.id, task.sequence.prompt_ids, task.sequence.completion_ids
        scored = await self._ask(to_score(self.asked, id, prompt, completion))
        written = await self._ask(to_write(self.asked, id, prompt, self._writing(task.sequence)))
        return _Judged(task, scored, written)

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

    def _judgement(self, group: str, judged: list[_Judged], left_out: dict[str, str]) -> Judgement:
        loss, tokens = mean_loss(each.scored for each in judged)
        texts = [self.renderer.react(self.renderer.text(_without_end(each.written))) for each in judged]
        pairs = [(each.task, text) for each, text in zip(judged, texts, strict=True)]
        reports = [check_completion(text, task.offered) for task, text in pairs]
        return Judgement(
            model=self.name,
            group=group,
            rows=len(judged),
            tokens=tokens,
            loss=loss,
            perplexity=math.exp(loss),
            **{check: share(getattr(report, check) for report in reports) for check in CHECKS},
            action_match=share(same_action(task.row.completion or "", text) for task, text in pairs),
            left_out=left_out,
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
