"""A model whose every answer is known, and rows to ask it about."""

import asyncio
from dataclasses import replace

import numpy as np

from common.api import DistillRequest, TeacherCard
from common.render import Renderer
from common.toolbench.rows import PromptRow, Turn
from common.wire import TeacherAnswer
from tests.unit.common.quality.answers import answer_of
from tests.unit.student_trainer.stand_in import TOKENIZER, VOCABULARY_SIZE

LONGEST = 400
SYSTEM = "You are AutoGPT.\nSpecifically, you have access to the following APIs: [{'name': 'go', 'parameters': {}}]"
GOOD = "\nThought: go\nAction: go\nAction Input: {}"
RENDERER = Renderer(TOKENIZER, "toolbench", LONGEST)


def make_row(id: str, completion: str | None = GOOD, system: str = SYSTEM) -> PromptRow:
    return PromptRow(id, "Go!", (Turn("system", system), Turn("user", "Go!")), completion, id, 1, "seen")


class Scripted:
    """Writes `text`, gives each scored token half of the mass; what it says of the rows in `odd` is their value."""

    def __init__(self, text: str = GOOD, odd: dict[str, Exception | str] | None = None) -> None:
        self.text, self.odd = text, odd or {}
        self.requests: list[DistillRequest] = []

    async def teacher(self) -> TeacherCard:
        raise NotImplementedError("an examiner asks for answers alone")

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        self.requests.append(request)
        (sequence,) = request.sequences
        odd = self.odd.get(sequence.id)
        if isinstance(odd, Exception):
            raise odd
        if odd == "silence":
            await asyncio.sleep(60)
        ids = sequence.completion_token_ids or RENDERER.completion_ids(self.text)
        distributions = np.full((len(ids), VOCABULARY_SIZE), 0.5 / (VOCABULARY_SIZE - 1))
        distributions[np.arange(len(ids)), ids] = 0.5
        reason = "scored" if sequence.completion_token_ids else "stop"
        answer = replace(answer_of(distributions, ids, request.top_k), id=sequence.id, finish_reason=reason)
        return [replace(answer, error=odd) if odd else answer]
