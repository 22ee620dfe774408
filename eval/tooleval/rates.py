"""ToolEval's figures: pass rate, win rate, SoPR, SoWR and FAC, of labels that are given.

SoPR and SoWR are StableToolBench's (Apache-2.0, `tooleval/eval_pass_rate.py` and `tooleval/eval_preference.py`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from eval.tooleval.labels import AnswerStatus, Verdict, Winner

SCORES: dict[AnswerStatus, float] = {"Solved": 1.0, "Unsure": 0.5, "Unsolved": 0.0}


@dataclass(frozen=True)
class PassRate:
    """Answers that pass by the majority of their rounds, ties among them."""

    rate: float
    passed: int
    ties: int
    coin_flips: int
    """Rounds whose label was unsure, which a coin decided."""


@dataclass(frozen=True)
class SolvablePassRate:
    """SoPR: the mean over rounds of the mean score, Solved 1, Unsure 0.5, Unsolved 0; and the rounds' deviation."""

    mean: float
    std: float
    labels: dict[AnswerStatus, int]
    """How often each was given, in all rounds."""


@dataclass(frozen=True)
class WinRate:
    """Queries on which the agent is preferred to the reference by the majority of the votes; ties apart."""

    rate: float
    wins: int
    ties: int
    losses: int
    by_label: int
    """Queries that labels decided, so that nobody had to vote."""


@dataclass(frozen=True)
class Comparison:
    """How a query was decided: by labels, which differ, or by a vote in each round."""

    winner: Winner
    votes: tuple[Winner, ...] = ()


def pass_rate(verdicts: Sequence[Verdict], coin_flips: int) -> PassRate | None:
    """None where nothing was judged, as in all of these."""
    if not verdicts:
        return None
    passed = sum(verdict.passed for verdict in verdicts)
    return PassRate(passed / len(verdicts), passed, sum(verdict.tie for verdict in verdicts), coin_flips)


def solvable_pass_rate(statuses: Sequence[Sequence[AnswerStatus]]) -> SolvablePassRate | None:
    """Of `statuses` by query and round; all queries have as many rounds. The deviation is the population's."""
    if not statuses:
        return None
    rounds = [fmean(SCORES[status] for status in of_round) for of_round in zip(*statuses, strict=True)]
    labels = Counter(status for of_query in statuses for status in of_query)
    return SolvablePassRate(fmean(rounds), pstdev(rounds), {status: labels[status] for status in SCORES})


def win_rate(comparisons: Sequence[Comparison]) -> WinRate | None:
    """Of one comparison per query."""
    if not comparisons:
        return None
    count = Counter(comparison.winner for comparison in comparisons)
    by_label = sum(not comparison.votes for comparison in comparisons)
    return WinRate(count["agent"] / len(comparisons), count["agent"], count["tie"], count["reference"], by_label)


def final_answer_correctness(labels: Sequence[AnswerStatus]) -> float | None:
    """FAC: the share of answers that a judge of the final answer alone calls Solved."""
    return fmean(SCORES[label] for label in labels) if labels else None
