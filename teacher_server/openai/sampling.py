"""From a body and its prompts to the sequences that an engine is asked to write: options, sizes, checks."""

from collections.abc import Sequence

from common.api import SEEDS, DistillSequence, TeacherCard
from teacher_server.engine.protocol import SequenceError, WriteOptions
from teacher_server.engine.validation import check_sequence
from teacher_server.http.admission import check_size, check_top_k
from teacher_server.http.errors import ApiError
from teacher_server.openai.protocol import WritingBody
from teacher_server.openai.streaming import to_api_error
from teacher_server.settings import LimitSettings

MAX_SHOWN = 262_144
"""Logprobs in an answer that isn't streamed: each is an object, about a kilobyte while the answer is made."""


def write_options(body: WritingBody, max_tokens: int, stop_token_ids: Sequence[int]) -> WriteOptions:
    """How the body wants completions of at most `max_tokens` written. Raises ApiError."""
    if (body.min_tokens or 0) > max_tokens:
        message = f"min_tokens: got {body.min_tokens}, expected at most the {max_tokens} that may be written"
        raise ApiError(422, "invalid_value", f"{message}; set max_tokens higher", "min_tokens")
    return WriteOptions(
        max_tokens=max_tokens,
        temperature=1 if body.temperature is None else body.temperature,
        top_p=1 if body.top_p is None else body.top_p,
        top_k=max(0, body.top_k or 0),
        min_tokens=body.min_tokens or 0,
        ignore_eos=bool(body.ignore_eos),
        seed=None if body.seed is None else body.seed % SEEDS,
        stop=body.stop,
        stop_token_ids=list(stop_token_ids),
        n=body.n or 1,
    )


def top_k(body: WritingBody) -> int | None:
    """Logprobs to ask for at each token: one at least where any are shown."""
    return None if body.shown is None else max(1, body.shown)


def checked_samples(
    body: WritingBody, prompts: Sequence[list[int]], options: WriteOptions, card: TeacherCard, limits: LimitSettings
) -> list[DistillSequence]:
    """A sequence per completion to write, n after each other for each prompt. Raises ApiError."""
    k = top_k(body) or 0
    check_top_k(k, card, "logprobs")
    asked = [DistillSequence.model_construct(id="", prompt_token_ids=ids, generate=options) for ids in prompts]
    scored = [
        DistillSequence.model_construct(id="", prompt_token_ids=[], completion_token_ids=ids)
        for ids in list(prompts) * options.n
        if body.scores_prompt
    ]
    check_size([*asked, *scored], k, limits, ("max_tokens", "logprobs"))
    if k and not body.stream:
        scored_tokens = sum(len(sequence.completion_token_ids or []) for sequence in scored)
        _check_shown((options.max_tokens * body.number_of_answers + scored_tokens) * (k + 1))
    for sequence in asked:
        try:
            check_sequence(sequence, card)
        except SequenceError as error:
            raise to_api_error(error) from None
    return [sample for sequence in asked for sample in sequence.samples()]


def _check_shown(logprobs: int) -> None:
    """Raises ApiError when an answer that is kept whole could hold too many."""
    if logprobs > MAX_SHOWN:
        message = f"logprobs: up to {logprobs} in one answer, expected at most {MAX_SHOWN}"
        raise ApiError(422, "request_too_large", f"{message}; send stream: true, or set max_tokens lower", "logprobs")
