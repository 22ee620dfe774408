"""Judging one served model on one group of rows: loss of the recorded completions, and form of the ones it writes.

Both go through the teacher's HTTP API, students included: what is judged is what is served.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.client import TeacherClient
from common.errors import UserError
from common.format_checks import check_completion
from common.render import Renderer, UnusableRow
from common.sequences import Sequence
from common.toolbench.react import ParseError, parse_step
from common.toolbench.rows import PromptRow
from common.toolbench.system_prompt import offered_functions
from common.wire import TeacherAnswer

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
    left_out: int = 0
    """Rows of the group that are too long to judge; `rows` doesn't count them."""


@dataclass(frozen=True)
class Judge:
    """Asks `client` about `model`, which the report calls `name`.

    `max_length`, the renderer's too, bounds prompt and completion together. `progress` is told how many of the two
    answers per row are settled.
    """

    client: TeacherClient
    name: str
    model: str
    renderer: Renderer
    max_length: int
    max_new_tokens: int
    concurrency: int
    progress: Callable[[int], None]
    revisions: set[str] = field(default_factory=set)
    """Of the answers so far; judges of one model's groups share it."""

    async def judge(self, group: str, rows: list[PromptRow]) -> Judgement:
        """Score and rewrite the completions of `rows`; rows that are too long are left out, and logged by name.

        Raises UserError when a row has no recorded completion, none fits, or the model refuses one or is replaced.
        """
        fitting = self._fitting(group, rows)
        sequences = [sequence for _, sequence in fitting]
        scored = await self._ask_all([self._to_score(sequence) for sequence in sequences])
        written = await self._ask_all([self._to_write(sequence) for sequence in sequences])
        self._check_revision([*scored, *written])
        loss, tokens = mean_loss(scored)
        kept = [row for row, _ in fitting]
        pairs = list(zip(kept, (self.renderer.text(answer.token_ids.tolist()) for answer in written), strict=True))
        reports = [check_completion(text, offered_functions(row.turns[0].content)) for row, text in pairs]
        return Judgement(
            model=self.name,
            group=group,
            rows=len(kept),
            tokens=tokens,
            loss=loss,
            perplexity=math.exp(loss),
            **{check: _share(getattr(report, check) for report in reports) for check in CHECKS},
            action_match=_share(same_action(row.completion or "", text) for row, text in pairs),
            left_out=len(rows) - len(kept),
        )

    def _fitting(self, group: str, rows: list[PromptRow]) -> list[tuple[PromptRow, Sequence]]:
        fitting = []
        for row in rows:
            if row.completion is None:
                raise UserError(
                    f"row {row.id} has no recorded completion to score; evaluate on converted traces, not queries"
                )
            try:
                fitting.append((row, self.renderer.sequence(row)))
            except UnusableRow as error:
                log.warning("%s on %s leaves out %s", self.name, group, error)
                self.progress(2)
        if not fitting:
            raise UserError(f"no row of the group {group!r} fits into max_length {self.max_length}; raise it")
        return fitting

    def _to_score(self, sequence: Sequence) -> DistillSequence:
        prompt, completion = list(sequence.prompt_ids), list(sequence.completion_ids)
        return DistillSequence(id=sequence.id, prompt_token_ids=prompt, completion_token_ids=completion)

    def _to_write(self, sequence: Sequence) -> DistillSequence:
        prompt = list(sequence.prompt_ids)
        options = GenerateOptions(
            max_tokens=min(self.max_new_tokens, self.max_length - len(prompt)),
            temperature=0,
            stop_token_ids=self.renderer.stop_token_ids,
        )
        return DistillSequence(id=sequence.id, prompt_token_ids=prompt, generate=options)

    def _check_revision(self, answers: Iterable[TeacherAnswer]) -> None:
        """Raise UserError when different weights gave answers: the name was moved to others meanwhile."""
        self.revisions.update(answer.revision for answer in answers)
        if len(self.revisions) > 1:
            raise UserError(
                f"{self.model} changed while it was judged (revisions {', '.join(sorted(self.revisions))}); "
                "judge it again when nobody replaces it"
            )

    async def _ask_all(self, sequences: list[DistillSequence]) -> list[TeacherAnswer]:
        places = asyncio.Semaphore(self.concurrency)

        async def ask(sequence: DistillSequence) -> TeacherAnswer:
            async with places:
                [answer] = await self.client.distill(DistillRequest(model=self.model, top_k=1, sequences=[sequence]))
            if answer.error is not None:
                raise UserError(f"{self.model} refused row {answer.id}: {answer.error}")
            self.progress(1)
            return answer

        return await asyncio.gather(*(ask(sequence) for sequence in sequences))


CHECKS = ("parses", "names_offered_api", "arguments_are_json", "required_present", "valid")


def mean_loss(answers: Iterable[TeacherAnswer]) -> tuple[float, int]:
    """Mean negative log-likelihood over all completion tokens, and how many there are."""
    sums = [(-float(answer.token_logprobs.sum(dtype="float64")), len(answer)) for answer in answers]
    tokens = sum(count for _, count in sums)
    return sum(total for total, _ in sums) / tokens, tokens


def same_action(recorded: str, written: str) -> bool:
    """Whether both completions name the same function."""
    try:
        return parse_step(recorded).action == parse_step(written).action
    except ParseError:
        return False


def first_rows(rows: Iterable[PromptRow], limit: int, group: str) -> list[PromptRow]:
    """The group's first `limit` rows; an empty group is a UserError."""
    chosen = list(islice(rows, limit))
    if not chosen:
        raise UserError(f"the group {group!r} holds no rows; check its folder")
    return chosen


def _share(passed: Iterable[bool]) -> float:
    values = list(passed)
    return sum(values) / len(values)
