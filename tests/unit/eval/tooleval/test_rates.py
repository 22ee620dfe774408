"""ToolEval's figures by hand, and StableToolBench's own from the labels that it recorded."""

import json
from pathlib import Path
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.tooleval.labels import Verdict, most_frequent, winner
from eval.tooleval.rates import (
    SCORES,
    Comparison,
    PassRate,
    WinRate,
    final_answer_correctness,
    pass_rate,
    solvable_pass_rate,
    win_rate,
)

STATUSES = st.sampled_from(sorted(SCORES))


def test_pass_rate_counts_ties_as_passed():
    verdicts = [Verdict(True, False), Verdict(True, True), Verdict(False, False), Verdict(False, False)]
    assert pass_rate(verdicts, 5) == PassRate(0.5, passed=2, ties=1, coin_flips=5)


def test_win_rate_keeps_ties_apart():
    comparisons = [
        Comparison("agent"),
        Comparison("tie", ("agent", "reference")),
        Comparison("reference", ("reference",)),
    ]
    assert win_rate([*comparisons, Comparison("tie", ("reference", "agent"))]) == WinRate(0.25, 1, 2, 1, by_label=1)


def test_sopr_is_the_mean_of_rounds():
    """Rounds of 1, 0.75 and 0.25 by hand."""
    of_first, of_second = ["Solved", "Unsure", "Unsure"], ["Solved", "Solved", "Unsolved"]
    rate = solvable_pass_rate([of_first, of_second])
    assert rate.mean == pytest.approx(2 / 3)
    assert rate.std == pytest.approx(pstdev([1, 0.75, 0.25]))
    assert rate.labels == {"Solved": 3, "Unsure": 2, "Unsolved": 1}


@given(st.lists(st.lists(STATUSES, min_size=4, max_size=4), min_size=1, max_size=8))
def test_sopr_is_the_mean_score_and_solving_never_lowers_it(statuses: list[list[str]]):
    rate = solvable_pass_rate(statuses)
    assert rate.mean == pytest.approx(sum(SCORES[each] for query in statuses for each in query) / 4 / len(statuses))
    assert sum(rate.labels.values()) == 4 * len(statuses)
    assert solvable_pass_rate([["Solved"] * 4, *statuses[1:]]).mean >= rate.mean


def test_fac_is_the_share_of_solved():
    assert final_answer_correctness(["Solved", "Unsolved", "Solved", "Solved"]) == 0.75


def test_nothing_judged_has_no_figure():
    assert (pass_rate([], 0), solvable_pass_rate([]), win_rate([]), final_answer_correctness([])) == (None,) * 4


def recorded(shared_data: Path, kind: str) -> dict[str, dict]:
    [file] = (shared_data / "StableToolBench" / "data_example" / kind).rglob("*.json")
    return json.loads(file.read_text())


def test_recorded_labels_give_their_sopr(shared_data: Path):
    """StableToolBench's script prints 66.7 ± 0.0 for them: twice Solved, once Unsolved in each of three rounds."""
    records = recorded(shared_data, "pass_rate_results")
    statuses = [
        [record["is_solved"][str(number)].removeprefix("AnswerStatus.") for number in range(3)]
        for record in records.values()
    ]
    rate = solvable_pass_rate(statuses)
    scores = [sum(SCORES[of_query[number]] for of_query in statuses) / len(statuses) for number in range(3)]
    assert (rate.mean, rate.std) == (sum(scores) / 3, 0.0) == (2 / 3, 0.0)
    assert rate.labels == {"Solved": 6, "Unsure": 0, "Unsolved": 3}
    assert {query: most_frequent(of_query) for query, of_query in zip(records, statuses, strict=True)} == {
        "588": "Unsolved",
        "1073": "Solved",
        "608": "Solved",
    }


def test_recorded_preferences_give_their_sowr(shared_data: Path):
    """DFS wins all three queries, eight of the nine votes; nobody ties."""
    comparisons, counts = [], {"reference": 0, "agent": 0}
    for record in recorded(shared_data, "preference_results").values():
        votes = ["reference"] * record["virtual_chatgpt_cot"] + ["agent"] * record["virtual_chatgpt_dfs"]
        comparisons.append(Comparison(winner(votes), tuple(votes)))
        for vote in votes:
            counts[vote] += 1
    assert counts == {"reference": 1, "agent": 8}
    assert win_rate(comparisons) == WinRate(1.0, wins=3, ties=0, losses=0, by_label=0)
