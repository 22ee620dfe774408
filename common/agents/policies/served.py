"""A served model of ours as a policy: turns are rendered as in training, sent as ids, and come back as ids."""

import logging
from collections.abc import Sequence

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached, Sampling
from common.agents.types import WrittenTurn
from common.api import GenerateOptions
from common.layouts.segments import TemplateMisfit
from common.render import Renderer
from common.sequences import Provenance
from common.teacher_client.failures import PromptFailed
from common.teacher_client.protocol import Teacher
from common.teacher_client.requests import to_write
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.react import split_reasoning
from common.toolbench.rows import Turn
from common.wire import TeacherAnswer

log = logging.getLogger(__name__)


class ServedPolicy:
    """Asks `teacher`, as `asked` says, for turns; `max_length` bounds prompt and completion together, in tokens."""

    def __init__(
        self,
        teacher: Teacher,
        asked: TeacherClientSettings,
        renderer: Renderer,
        max_length: int,
        provenance: Provenance,
    ) -> None:
        self._teacher, self._asked, self._renderer, self._max_length = teacher, asked, renderer, max_length
        self._provenance = provenance

    @property
    def provenance(self) -> Provenance:
        """Whether its turns are a teacher's or a student's."""
        return self._provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        """As `Policy.write`. Raises BoundReached ("max_length", "unrenderable").

        Raises UserError where the teacher is gone for good, or its template takes no episode's opening.
        """
        prompt, given = self._render(tuple(turns), sampling.prefix)
        room = self._max_length - len(prompt) - len(given)
        if room < 1:
            raise BoundReached("max_length")
        request = to_write(self._asked, "turn", [*prompt, *given], self._options(sampling, room))
        try:
            answers = await self._teacher.distill(request)
        except PromptFailed as failure:
            raise InfrastructureFailure(f"no turn was written: {failure}") from None
        return [self._written(answer, len(prompt), given) for answer in answers]

    def _render(self, turns: tuple[Turn, ...], prefix: str) -> tuple[list[int], list[int]]:
        """Ids of the turns, and of `prefix` behind them."""
        try:
            prompt = self._renderer.turn_ids(turns)
            return prompt, self._renderer.opening_ids(turns, prefix) if prefix else []
        except TemplateMisfit as misfit:
            if all(turn.role != "assistant" for turn in turns):
                raise
            log.info("an episode ends, since what was said can't be rendered: %s", misfit)
            raise BoundReached("unrenderable") from None

    def _options(self, sampling: Sampling, room: int) -> GenerateOptions:
        return GenerateOptions(
            max_tokens=min(sampling.max_tokens, room),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop_token_ids=self._renderer.stop_token_ids,
            n=sampling.n,
        )

    def _written(self, answer: TeacherAnswer, prompt_tokens: int, given: list[int]) -> WrittenTurn:
        if answer.error is not None:
            raise InfrastructureFailure(f"no turn was written: {answer.error}")
        ended = answer.finish_reason == "stop"
        ids: list[int] = [*given, *answer.token_ids.tolist()]
        reasoning, text = self._read(self._renderer.text(ids[:-1] if ended else ids), ended)
        return WrittenTurn(
            text=text,
            finish_reason="stop" if ended else "length",
            revision=answer.revision,
            token_ids=tuple(ids),
            reasoning=reasoning,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(answer),
        )

    def _read(self, text: str, ended: bool) -> tuple[str, str]:
        """What was thought aloud, and the turn in ToolBench's form; of several calls in it, the first.

        Text that was cut is no answer, and stays as it is.
        """
        if self._renderer.template != "tools":
            return split_reasoning(text)
        parsed = self._renderer.parse_turn(text)
        return parsed.reasoning, self._renderer.react(text) if ended or parsed.calls else parsed.content
