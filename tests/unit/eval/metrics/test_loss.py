"""Loss by part and step: each token in one part, the parts the whole, long rows weighing more than short ones."""

import math

import numpy as np
import pytest

from common import wire
from common.toolbench.react import Part
from eval.metrics.loss import by_part, by_step, loss_of, part_losses
from eval.metrics.measures import figure
from eval.results import RowResult
from tests.unit.eval.test_results import ROW

PARTS: list[Part] = ["thought", "thought", "action", "action_input"]


def answer(logprobs: list[float]) -> wire.TeacherAnswer:
    column = np.array(logprobs, np.float32)
    ids = np.zeros(len(logprobs), np.int32)
    return wire.TeacherAnswer("x", "m", "r", "scored", None, ids, column, ids[:, None], column[:, None], column)


def row(step: int, logprobs: list[float], parts: list[Part] = PARTS, floor: float | None = None) -> RowResult:
    own = part_losses(answer(logprobs), parts)
    update = {
        "row": f"{step}{logprobs}",
        "step": step,
        "parts": own,
        "tokens": sum(part.tokens for part in own.values()),
        "nats": sum(part.nats for part in own.values()),
        "floor_nats": floor,
    }
    return ROW.model_copy(update=update)


def test_each_token_is_counted_in_its_own_part() -> None:
    found = part_losses(answer([-1, -2, -4, -8]), PARTS)
    assert {part: (each.tokens, each.nats) for part, each in found.items()} == {
        "thought": (2, 3.0),
        "action": (1, 4.0),
        "action_input": (1, 8.0),
    }
    with pytest.raises(ValueError, match="zip"):
        part_losses(answer([-1, -2, -4]), PARTS)


def test_the_parts_are_the_whole() -> None:
    rows = [row(1, [-1, -2, -4, -8]), row(2, [-0.5, -0.25, 0, -1])]
    whole, parts = loss_of((each.tokens, each.nats) for each in rows), by_part(rows)
    assert whole is not None
    assert sum(each.tokens for each in parts.values()) == whole.tokens == 8
    assert sum(each.tokens * each.loss for each in parts.values()) == pytest.approx(whole.tokens * whole.loss)
    assert parts["action"].loss == 2.0
    assert whole.perplexity == pytest.approx(math.exp(16.75 / 8))


def test_long_answers_weigh_more_than_short_ones() -> None:
    found = loss_of([(3, 3.0), (1, 5.0)])
    assert found is not None
    assert (found.loss, found.tokens, found.rows) == (2.0, 4, 2)
    assert loss_of([]) is None
    assert loss_of([(0, 0.0)]) is None


def test_steps_are_kept_apart_and_a_part_without_tokens_is_absent() -> None:
    rows = [row(2, [-1] * 4), row(10, [-2] * 4), row(2, [-3] * 4), row(1, [-9], ["thought"])]
    assert {step: (loss.rows, loss.loss) for step, loss in by_step(rows).items()} == {
        1: (1, 9.0),
        2: (2, 2.0),
        10: (1, 2.0),
    }
    assert list(by_step(rows)) == [1, 2, 10]
    assert list(by_part(rows[3:])) == ["thought"]


def test_an_oracle_that_knows_the_odds_is_at_the_floor() -> None:
    """Two paraphrases of odds 3 to 1, the rest certain: the oracle's excess is 0 row by row, a guesser's isn't."""
    odds = [0.75, 0.75, 0.75, 0.25]
    oracle = [row(n, [math.log(p), 0, 0, 0], floor=-math.log(p)) for n, p in enumerate(odds)]
    guesser = [row(n, [math.log(0.5), 0, 0, 0], floor=-math.log(p)) for n, p in enumerate(odds)]
    assert figure(oracle, "excess").value == pytest.approx(0, abs=1e-6)
    gap = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert figure(guesser, "excess").value == pytest.approx(gap, abs=1e-6)


def test_rows_without_a_floor_count_for_no_excess() -> None:
    rows = [row(1, [-1, 0, 0, 0], floor=0.5), row(2, [-9, 0, 0, 0])]
    assert (figure(rows, "excess").value, figure(rows, "excess").rows) == (0.5, 1)
    assert figure(rows[1:], "excess").value is None
