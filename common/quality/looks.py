"""What a written completion looks like, in a word: valid, or which of the ways in which a format collapses.

A student whose format collapses writes raw JSON from its prompt in place of a Thought, repeats itself, or calls what
nobody offers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from common.quality.completions import CompletionReport, Functions, judge_completion

REPETITIVE = 0.5
"""The repetition from which what is no step counts as a loop."""

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
    """As `CompletionReport.repetition`."""
    look: Look


def look_at(id: str, text: str, tokens: int, ended: bool, offered: Functions) -> Written:
    """Judge the completion `text`, in ToolBench's form, of so many tokens, to a prompt that offers functions."""
    report = judge_completion(text, offered)
    return Written(id, text, tokens, ended, report.repetition, _look(report))


def _look(report: CompletionReport) -> Look:
    if report.form.valid:
        return "valid"
    if report.form.parses:
        return "bad_arguments" if report.form.names_offered_api else "unknown_api"
    if report.is_raw_json:
        return "raw_json"
    return "repetition" if report.repetition >= REPETITIVE else "no_step"


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
