"""Measures of rows: good traces score, bad ones don't, and what doesn't arise is no perfect score."""

import pytest

from common.toolbench.system_prompt import FINISH
from eval.metrics.bootstrap import DIFFERENCES
from eval.metrics.measures import MEASURES, compare_rows, figure, measures_of, sample
from eval.results import RowResult
from tests.unit.eval.test_results import ROW

LOOK = {"name": "look_for_a", "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"]}}
OFFERED = [LOOK, FINISH]


def step(action: str, arguments: str) -> str:
    return f"\nThought: go\nAction: {action}\nAction Input: {arguments}"


CALL, DONE = (
    step("look_for_a", '{"city": "Oslo"}'),
    step("Finish", '{"return_type": "give_answer", "final_answer": "1"}'),
)


def row(recorded: str, written: str, name: str = "", tool: str = "") -> RowResult:
    measures = measures_of(recorded, written, OFFERED, cut_off=False)
    return ROW.model_copy(update={"row": name or written, "tool": tool or name, "measures": measures})


def values(rows: list[RowResult]) -> dict[str, float | None]:
    return {name: figure(rows, name).value for name in MEASURES}


def test_the_recorded_completions_themselves_score_as_they_should() -> None:
    found = values([row(CALL, CALL, "a"), row(DONE, DONE, "b")])
    bad = {"hallucinates", "finishes_early", "gives_up", "is_raw_json", "repetition", "cut_off"}
    assert found == {name: 0.0 if name in bad else 1.0 for name in MEASURES}


def test_a_model_that_always_finishes_abstains_perfectly_and_never_calls() -> None:
    found = values([row(CALL, DONE, "a"), row(CALL, DONE, "b"), row(DONE, DONE, "c")])
    assert (found["abstains"], found["calls"], found["finishes_early"]) == (1.0, 0.0, 1.0)
    assert (found["valid"], found["same_action"]) == (1.0, pytest.approx(1 / 3))
    assert (found["arguments_exact"], found["arguments_equal"]) == (0.0, 0.0)


def test_a_model_that_always_calls_never_abstains() -> None:
    found = values([row(CALL, CALL, "a"), row(DONE, CALL, "b")])
    assert (found["abstains"], found["calls"], found["finishes_early"]) == (0.0, 1.0, 0.0)


def test_garbage_scores_nothing_and_what_it_never_names_it_does_not_make_up() -> None:
    found = values([row(CALL, "words words", "a"), row(DONE, '{"name": "x"}', "b")])
    assert found["is_raw_json"] == 0.5
    assert found["hallucinates"] is None
    others = set(MEASURES) - {"is_raw_json", "hallucinates", "repetition"}
    assert {name: found[name] for name in others} == dict.fromkeys(others, 0.0)


def test_no_rows_are_no_perfect_score() -> None:
    assert set(values([]).values()) == {None}
    calls_alone = [row(CALL, CALL, "a"), row(CALL, CALL, "b")]
    assert figure(calls_alone, "abstains").rows == 0
    assert figure(calls_alone, "abstains").value is None


def test_rows_of_a_tool_are_one_cluster() -> None:
    assert [each.cluster for each in sample([row(CALL, CALL, "a", "jam"), row(CALL, CALL, "b", "jam")], "valid")] == [
        "jam",
        "jam",
    ]
    assert figure([row(CALL, CALL, "a", "jam"), row(CALL, DONE, "b", "jam")], "calls").low is None


def test_models_are_compared_row_by_row() -> None:
    good = [row(CALL, CALL, str(number)) for number in range(8)]
    bad = [row(CALL, DONE, str(number)) for number in range(4, 12)]
    found = compare_rows(good, bad, "calls", DIFFERENCES)
    assert found is not None
    assert (found.interval.estimate, found.interval.tasks) == (1.0, 4)
    loss = compare_rows(good, [each.model_copy(update={"nats": 7.0}) for each in good], "loss", None)
    assert loss is not None
    assert loss.interval.estimate == pytest.approx(-0.2)
