"""From the rows of one model on one group to its figures."""

from statistics import mean

from eval.judging.judge import Judged
from eval.metrics.loss import by_part, by_step, loss_of
from eval.metrics.measures import EXCESS, LOSS, MEASURES, figure
from eval.results import Judgement


def judgement_of(model: str, group: str, judged: Judged) -> Judgement:
    """The figures of `model` on `group`; nothing that was left out counts in any of them."""
    rows = judged.rows
    whole = loss_of((row.tokens, row.nats) for row in rows)
    assert whole is not None, "a completion has at least its terminator"
    has_floor = any(row.floor_nats is not None for row in rows)
    return Judgement(
        model=model,
        group=group,
        rows=len(rows),
        tokens=whole.tokens,
        perplexity=whole.perplexity,
        written_tokens=mean(row.written_tokens for row in rows),
        measures={name: figure(rows, name) for name in (LOSS, *[EXCESS] * has_floor, *MEASURES)},
        parts=by_part(rows),
        steps=by_step(rows),
        left_out=judged.left_out,
    )
