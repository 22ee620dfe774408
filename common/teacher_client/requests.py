"""What a teacher is asked: the only place where requests of the distillation API are built."""

from collections.abc import Sequence

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.teacher_client.settings import TeacherClientSettings


def to_score(
    settings: TeacherClientSettings, id: str, prompt_ids: Sequence[int], completion_ids: Sequence[int]
) -> DistillRequest:
    """A request for the distribution at each position of a given completion."""
    prompt, completion = list(prompt_ids), list(completion_ids)
    return _request(settings, DistillSequence(id=id, prompt_token_ids=prompt, completion_token_ids=completion))


def to_write(
    settings: TeacherClientSettings, id: str, prompt_ids: Sequence[int], options: GenerateOptions
) -> DistillRequest:
    """A request for a completion that the teacher writes, with its distribution at each position."""
    return _request(settings, DistillSequence(id=id, prompt_token_ids=list(prompt_ids), generate=options))


def _request(settings: TeacherClientSettings, sequence: DistillSequence) -> DistillRequest:
    return DistillRequest(
        model=settings.model,
        top_k=settings.top_k,
        sequences=[sequence],
        logprob_dtype=settings.logprob_dtype,
    )
