"""ToolEval's labels, and the rules that make one verdict of several rounds of them.

The truth table and the majorities are ToolBench's (Apache-2.0, `tooleval/evaluators/registered_cls/rtl.py` and
`tooleval/eval_pass_rate.py`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

AnswerStatus = Literal["Solved", "Unsolved", "Unsure"]
TaskStatus = Literal["Solvable", "Unsolvable", "Unsure"]
PassLabel = Literal["passed", "failed", "unsure"]
Winner = Literal["reference", "agent", "tie"]

PASS_LABELS: Mapping[tuple[AnswerStatus, TaskStatus], PassLabel] = {
    ("Solved", "Solvable"): "passed",
    ("Solved", "Unsolvable"): "passed",
    ("Solved", "Unsure"): "passed",
    ("Unsolved", "Solvable"): "failed",
    ("Unsolved", "Unsolvable"): "passed",
    ("Unsolved", "Unsure"): "unsure",
    ("Unsure", "Solvable"): "unsure",
    ("Unsure", "Unsolvable"): "passed",
    ("Unsure", "Unsure"): "unsure",
}
"""What an answer's status is worth, given whether its task can be solved at all."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer passes, by the majority of its rounds. A tie passes, and is counted as such."""

    passed: bool
    tie: bool


def majority(passes: Sequence[bool]) -> Verdict:
    """The verdict of at least one round."""
    passed, failed = passes.count(True), passes.count(False)
    return Verdict(passed >= failed, passed == failed)


def most_frequent(statuses: Sequence[AnswerStatus]) -> AnswerStatus:
    """The status of most rounds; Unsure where several are as frequent."""
    (first, count), *others = Counter(statuses).most_common()
    return "Unsure" if others and others[0][1] == count else first


def winner(votes: Sequence[Winner]) -> Winner:
    """Who was preferred more often."""
    ahead = votes.count("agent") - votes.count("reference")
    return "agent" if ahead > 0 else "reference" if ahead < 0 else "tie"
