"""What a written completion looks like: valid, or which of the ways in which a format collapses.

A student whose format collapses writes raw JSON from its prompt in place of a Thought, repeats itself, or calls what
nobody offers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from common.format_checks import FormatReport, check_completion

NGRAM = 4
REPETITIVE = 0.5
"""The `repetition` from which an invalid completion counts as a loop."""
RAW_JSON = re.compile(r"\s*(```\w*\s*)?[\[{]")

Look = Literal["valid", "unknown_api", "bad_arguments", "raw_json", "repetition", "no_step"]
"""Valid; calls an API that isn't on offer; calls one with arguments that aren't a JSON object or lack one that is
required; JSON without Thought and Action; a loop; or else no Thought, Action and Action Input."""


@dataclass(frozen=True)
class Written:
    """A completion that was written, judged."""

    id: str
    text: str
    tokens: int
    ended: bool
    """Whether it came to an end within its bound."""
    repetition: float
    look: Look


def judge(id: str, text: str, ids: Sequence[int], ended: bool, offered: Sequence[dict[str, Any]]) -> Written:
    """Judge the completion `text`, in ToolBench's form, of the tokens `ids` to a prompt that offers functions."""
    report, repeated = check_completion(text, offered), repetition(ids)
    return Written(id, text, len(ids), ended, repeated, _look(text, report, repeated))


def _look(text: str, report: FormatReport, repeated: float) -> Look:
    if report.valid:
        return "valid"
    if report.parses:
        return "bad_arguments" if report.names_offered_api else "unknown_api"
    if RAW_JSON.match(text):
        return "raw_json"
    return "repetition" if repeated >= REPETITIVE else "no_step"


def repetition(ids: Sequence[int], n: int = NGRAM) -> float:
    """seq-rep-n of Welleck et al. 2019 (arXiv 1908.04319): the share of n-grams that came before; 0 where none fits."""
    ngrams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def summarize(written: Sequence[Written]) -> dict[str, float]:
    """Means over `written`, one at least: shares by look, repetition, those that ended, and length in tokens."""
    return {
        "valid": fmean(each.look == "valid" for each in written),
        "repetition": fmean(each.repetition for each in written),
        "raw_json": fmean(each.look == "raw_json" for each in written),
        "unknown_api": fmean(each.look == "unknown_api" for each in written),
        "ended": fmean(each.ended for each in written),
        "length": fmean(each.tokens for each in written),
    }
