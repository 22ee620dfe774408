"""ToolEval's rules: the truth table cell by cell, majorities and ties, and that a wrong rule would be seen."""

from typing import get_args
from unittest.mock import patch

import pytest

from eval.tooleval import labels
from eval.tooleval.labels import (
    PASS_LABELS,
    AnswerStatus,
    PassLabel,
    TaskStatus,
    Verdict,
    majority,
    most_frequent,
    winner,
)

PUBLISHED = """
answer    Solvable  Unsolvable  Unsure
Solved    passed    passed      passed
Unsolved  failed    passed      unsure
Unsure    unsure    passed      unsure
"""


def check_table() -> None:
    [_, *tasks], *rows = [line.split() for line in PUBLISHED.strip().splitlines()]
    cells = {(status, task): label for status, *of_row in rows for task, label in zip(tasks, of_row, strict=True)}
    assert cells == labels.PASS_LABELS


def test_the_truth_table_is_the_published_one():
    check_table()
    assert {status for status, _ in PASS_LABELS} == set(get_args(AnswerStatus))
    assert {task for _, task in PASS_LABELS} == set(get_args(TaskStatus))


WRONG = [(cell, label) for cell, right in PASS_LABELS.items() for label in get_args(PassLabel) if label != right]


@pytest.mark.parametrize(("cell", "label"), WRONG)
def test_a_wrong_cell_would_be_seen(cell: tuple[AnswerStatus, TaskStatus], label: PassLabel):
    with patch.object(labels, "PASS_LABELS", PASS_LABELS | {cell: label}), pytest.raises(AssertionError):
        check_table()


@pytest.mark.parametrize(
    ("passes", "verdict"),
    [
        ("++++", Verdict(True, False)),
        ("+++-", Verdict(True, False)),
        ("++--", Verdict(True, True)),
        ("+---", Verdict(False, False)),
        ("----", Verdict(False, False)),
        ("+-+-+", Verdict(True, False)),
        ("--++-", Verdict(False, False)),
        ("+++---", Verdict(True, True)),
    ],
)
def test_the_majority_of_rounds_decides_and_a_tie_passes(passes: str, verdict: Verdict):
    assert majority([each == "+" for each in passes]) == verdict


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["Solved", "Solved", "Unsolved", "Unsure"], "Solved"),
        (["Unsolved"] * 3 + ["Solved"], "Unsolved"),
        (["Solved", "Solved", "Unsolved", "Unsolved"], "Unsure"),
        (["Unsure"], "Unsure"),
    ],
)
def test_the_most_frequent_status(statuses: list[AnswerStatus], status: AnswerStatus):
    assert most_frequent(statuses) == status


@pytest.mark.parametrize(("votes", "who"), [("aaar", "agent"), ("aarr", "tie"), ("arrr", "reference"), ("ar", "tie")])
def test_the_majority_of_votes_wins(votes: str, who: str):
    assert winner([{"a": "agent", "r": "reference"}[vote] for vote in votes]) == who
