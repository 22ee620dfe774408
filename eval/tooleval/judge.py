"""A judge: any model behind OpenAI's API, asked for one label at a time.

A reply without a label is asked for again, in bounds, and never taken for Unsure. What stays without one, or breaks, is
set aside by name; a judge that is gone, or never gives a label, ends the evaluation.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

from openai.types.chat import ChatCompletion

from common.agents.environment import InfrastructureFailure
from common.agents.episodes import seed_of
from common.agents.policies.chat_endpoint import ChatEndpoint, revision_of, whole_text
from common.agents.policy import BoundReached, Sampling
from common.errors import UserError
from common.toolbench.react import split_reasoning
from eval.tooleval.judgements import Judgement, JudgementStore, key_of
from eval.tooleval.prompts import LABELS, JudgePrompts, Kind, label_in
from eval.tooleval.settings import JudgeSettings

IN_A_ROW = 10
"""Items on which the judge may fail one after the other; then it is what is broken."""


class Unjudged(Exception):
    """An item that has no label; the message says which and why."""

    def __init__(self, message: str, by_judge: bool) -> None:
        """`by_judge`: the judge may be at fault, and not the item."""
        super().__init__(message)
        self.by_judge = by_judge


@dataclass(frozen=True)
class JudgeReport:
    """Who judged, and what the judgements took that the figures rest on."""

    model: str
    revisions: dict[str, int]
    """Judgements by the weights that gave them: the model's name and fingerprint, as the endpoint says."""
    temperature: float
    judgements: int
    unparsable: int
    """Replies without a label: those that were asked for again, and those whose items are set aside."""
    prompt_tokens: int
    completion_tokens: int


class Judge:
    """Asks `endpoint`, at most as often at a time as `slots` allow; what stands in `store` isn't asked again."""

    def __init__(
        self,
        endpoint: ChatEndpoint,
        settings: JudgeSettings,
        prompts: JudgePrompts,
        store: JudgementStore,
        slots: asyncio.Semaphore,
        seed: int,
    ) -> None:
        self._endpoint, self._settings, self._prompts = endpoint, settings, prompts
        self._store, self._slots, self._seed = store, slots, seed
        self._asked: dict[str, asyncio.Task[Judgement]] = {}
        self._failed_in_a_row = 0
        self._used: dict[str, Judgement] = {}
        self._unparsable = 0

    async def close(self) -> None:
        """End what is still asked."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    def report(self) -> JudgeReport:
        """Who judged, and what it took."""
        used = self._used.values()
        return JudgeReport(
            model=self._settings.model,
            revisions=dict(Counter(judgement.revision for judgement in used)),
            temperature=self._settings.temperature,
            judgements=len(used),
            unparsable=sum(judgement.unparsable for judgement in used) + self._unparsable,
            prompt_tokens=sum(judgement.prompt_tokens for judgement in used),
            completion_tokens=sum(judgement.completion_tokens for judgement in used),
        )

    async def label(self, kind: Kind, place: str, **fields: str) -> str:
        """One of LABELS[kind]; `place` says what is judged, and `fields` what the prompt is about.

        Raises Unjudged, and UserError where the judge can't go on at all.
        """
        item, prompt = f"{kind} {place}", self._prompts.of(kind).filled(**fields)
        settings = self._settings
        heading = self._prompts.of(kind).heading
        key = key_of(settings.model, settings.temperature, settings.max_tokens, self._seed, item, heading, prompt)
        judgement = self._store.get(key)
        if judgement is None:
            if key not in self._asked:
                self._asked[key] = asyncio.create_task(self._judge(kind, key, item, prompt))
            judgement = await asyncio.shield(self._asked[key])  # others may wait for it too
        self._used[key] = judgement
        return judgement.label

    async def _judge(self, kind: Kind, key: str, item: str, prompt: str) -> Judgement:
        try:
            async with self._slots:
                judgement = await self._ask(kind, key, item, prompt)
        except Unjudged as failure:
            self._failed_in_a_row += failure.by_judge
            if self._failed_in_a_row >= IN_A_ROW:
                raise UserError(
                    f"the judge failed on {IN_A_ROW} items in a row, the last being {failure}; mend it and start "
                    "again: what was judged is kept"
                ) from None
            raise
        self._failed_in_a_row = 0
        self._store.add(judgement)
        return judgement

    async def _ask(self, kind: Kind, key: str, item: str, prompt: str) -> Judgement:
        heading, labels = self._prompts.of(kind).heading, LABELS[kind]
        read = written = 0
        for attempt in range(self._settings.attempts):
            answer = await self._reply(item, prompt, seed_of(self._seed, item, attempt))
            reply = _text(answer)
            if answer.usage:
                read, written = read + answer.usage.prompt_tokens, written + answer.usage.completion_tokens
            cut = answer.choices[0].finish_reason == "length"
            label = None if cut else label_in(split_reasoning(reply)[1], heading, labels)
            if label:
                return Judgement(key, item, label, reply, revision_of(answer), attempt, read, written)
        self._unparsable += self._settings.attempts
        expected = " or ".join(f"{heading}: {label}" for label in labels)
        ending = "a reply that was cut" if cut else "a reply"
        said = f"{item}: got {ending} that ends {reply[-80:]!r}, expected a line {expected!r}"
        raise Unjudged(said, by_judge=not self._used)

    async def _reply(self, item: str, prompt: str, seed: int) -> ChatCompletion:
        settings = self._settings
        sampling = Sampling(seed, temperature=settings.temperature, max_tokens=settings.max_tokens)
        try:
            return await self._endpoint.complete([{"role": "user", "content": prompt}], sampling)
        except InfrastructureFailure as failure:
            raise Unjudged(f"{item}: {failure}", by_judge=True) from None
        except BoundReached:
            said = f"{item}: its prompt of {len(prompt)} characters is too long for the judge"
            raise Unjudged(said, by_judge=False) from None


def _text(answer: ChatCompletion) -> str:
    return whole_text(str(answer.choices[0].message.content or ""))
