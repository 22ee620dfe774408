"""The alignment probe: what the teacher wrote greedily must be what it finds most likely when it scores it back.

A teacher whose positions are shifted, or whose prompt is cut, fails here and not after a week of training.
Legend: T = positions written, k = entries per position.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from common.api import DistillRequest, GenerateOptions, TeacherCard
from common.errors import UserError
from common.render import Renderer
from common.teacher_client.failures import BadAnswer
from common.teacher_client.protocol import Teacher
from common.teacher_client.requests import to_score, to_write
from common.teacher_client.settings import TeacherClientSettings
from common.teacher_client.verify import verify
from common.toolbench.rows import PromptRow
from common.unusable_rows import UnusableRow
from common.wire import TeacherAnswer

PROBE_TOKENS = 32
PROBE_PROMPTS = 8
"""Most prompts that are probed; the first is enough unless the teacher ends its completion early."""
PROBE_ATTEMPTS = 3
TOLERANCES = {"float32": 1e-3}
"""How far logprobs of written and scored tokens may differ in root mean square, by the teacher's type."""
TOLERANCE_OF_OTHERS = 0.1
"""Of bfloat16: between writing and scoring, logits round differently by 0.03 to 0.04 nats in root mean square."""
OUTLIER = 3
"""How many tolerances a single position may be off: of 32 with such noise, one beyond the tolerance is no surprise."""


class Misaligned(Exception):
    """Written and scored positions disagree."""


def probe_prompts(rows: Iterable[PromptRow], renderer: Renderer) -> list[list[int]]:
    """Ids of the first PROBE_PROMPTS prompts of `rows` that can be rendered; UserError when none can."""
    prompts: list[list[int]] = []
    first: UnusableRow | None = None
    for row in rows:
        try:
            prompts.append(renderer.prompt_ids(row))
        except UnusableRow as error:
            first = first or error
        if len(prompts) == PROBE_PROMPTS:
            break
    if not prompts:
        raise UserError(f"no prompt of the data can be used; the first: {first}")
    return prompts


async def probe_alignment(
    teacher: Teacher, settings: TeacherClientSettings, card: TeacherCard, prompts: Iterable[Sequence[int]]
) -> None:
    """Have completions of `prompts` (token ids) written greedily and scored back, until PROBE_TOKENS are probed.

    One prompt is enough unless the teacher ends early. Raises Misaligned naming the first position that disagrees.
    """
    probed = 0
    for prompt_ids in prompts:
        probed += await _probe(teacher, settings, card, list(prompt_ids))
        if probed >= PROBE_TOKENS:
            return


async def _probe(teacher: Teacher, settings: TeacherClientSettings, card: TeacherCard, prompt: list[int]) -> int:
    """Probe one prompt; returns how many positions were written."""
    options = GenerateOptions(max_tokens=min(PROBE_TOKENS, card.max_length - len(prompt)), temperature=0)
    exact = settings.model_copy(update={"logprob_dtype": "float32"})
    written = await _ask(teacher, card, to_write(exact, "probe/written", prompt, options))
    completion = written.token_ids.tolist()
    scored = await _ask(teacher, card, to_score(exact, "probe/scored", prompt, completion))
    tolerance = TOLERANCES.get(card.dtype, TOLERANCE_OF_OTHERS)
    _check_most_likely("written", written, tolerance)
    _check_most_likely("scored", scored, tolerance)
    gaps = np.abs(written.token_logprobs - scored.token_logprobs)  # [T]
    root_mean_square, worst = float(np.sqrt(np.mean(gaps**2))), int(gaps.argmax())
    if root_mean_square > tolerance or gaps[worst] > OUTLIER * tolerance:
        raise Misaligned(
            f"at position {worst} it wrote token {completion[worst]} with logprob {written.token_logprobs[worst]:.4f} "
            f"and scores it {scored.token_logprobs[worst]:.4f}, expected within {OUTLIER * tolerance:g}; the root mean "
            f"square over {len(gaps)} positions is {root_mean_square:.4f}, expected at most {tolerance:g}"
        )
    return len(completion)


async def _ask(teacher: Teacher, card: TeacherCard, request: DistillRequest) -> TeacherAnswer:
    """The verified answer. One that is bad may have been torn on its way, so it is asked for PROBE_ATTEMPTS times."""
    problem = ""
    for _ in range(PROBE_ATTEMPTS):
        try:
            (answer,) = await teacher.distill(request)
            verify(answer, request, card.vocabulary_size)
            return answer
        except BadAnswer as error:
            problem = str(error)
    raise Misaligned(problem)


def _check_most_likely(task: str, answer: TeacherAnswer, tolerance: float) -> None:
    """Each token is its position's first entry, or within `tolerance` of it (a tie)."""
    first_ids, first_logprobs = answer.topk_ids[:, 0], answer.topk_logprobs[:, 0]
    tied = first_logprobs - answer.token_logprobs <= tolerance  # [T]
    wrong = np.flatnonzero((first_ids != answer.token_ids) & ~tied)
    if wrong.size:
        at = int(wrong[0])
        raise Misaligned(
            f"{task} position {at} has token {answer.token_ids[at]}, its most likely is {first_ids[at]} "
            f"({wrong.size} of {len(answer)} positions disagree)"
        )
