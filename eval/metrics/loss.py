"""Loss of recorded completions, from a teacher's answers."""

from collections.abc import Iterable

from common.wire import TeacherAnswer


def mean_loss(answers: Iterable[TeacherAnswer]) -> tuple[float, int]:
    """Mean negative log-likelihood in nats over all completion tokens, and how many there are."""
    sums = [(-float(answer.token_logprobs.sum(dtype="float64")), len(answer)) for answer in answers]
    tokens = sum(count for _, count in sums)
    return sum(total for total, _ in sums) / tokens, tokens
