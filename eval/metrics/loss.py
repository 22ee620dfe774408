"""Loss of recorded completions: of whole rows, of their parts and by step, so that parts add up to the whole."""

import math
from collections.abc import Iterable

from common.toolbench.react import PARTS, Part
from common.wire import TeacherAnswer
from eval.results import Loss, PartLoss, RowResult


def part_losses(answer: TeacherAnswer, parts: list[Part]) -> dict[Part, PartLoss]:
    """Tokens and nats of each part, of an answer and the part of each of its T tokens.

    Raises ValueError where there aren't as many parts as tokens.
    """
    nats = [(part, -float(logprob)) for part, logprob in zip(parts, answer.token_logprobs, strict=True)]
    own = {part: [each for found, each in nats if found == part] for part in PARTS}
    return {part: PartLoss(tokens=len(each), nats=sum(each)) for part, each in own.items()}


def loss_of(sums: Iterable[tuple[int, float]]) -> Loss | None:
    """The loss over rows, from the tokens and nats of each; None where there are no tokens."""
    counted = [(tokens, nats) for tokens, nats in sums if tokens]
    tokens = sum(each for each, _ in counted)
    if not tokens:
        return None
    loss = sum(nats for _, nats in counted) / tokens
    return Loss(rows=len(counted), tokens=tokens, loss=loss, perplexity=math.exp(loss))


def by_part(rows: Iterable[RowResult]) -> dict[Part, Loss]:
    """The loss of each part that has tokens."""
    found = list(rows)
    losses = {part: loss_of((row.parts[part].tokens, row.parts[part].nats) for row in found) for part in PARTS}
    return {part: loss for part, loss in losses.items() if loss is not None}


def by_step(rows: Iterable[RowResult]) -> dict[int, Loss]:
    """The loss of the rows of each step number."""
    sums: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        sums.setdefault(row.step, []).append((row.tokens, row.nats))
    losses = {step: loss_of(sums[step]) for step in sorted(sums)}
    return {step: loss for step, loss in losses.items() if loss is not None}
