"""Findings as lines for a terminal: few, whatever the data hold."""

from collections import Counter
from collections.abc import Iterator

from eval.check_data.findings import Findings
from eval.check_data.hints import HINTS, RULES
from eval.visible_text import one_line

LONGEST = 300
"""Most characters of an example."""


def lines(findings: Findings) -> Iterator[str]:
    """What was read, what is wrong with examples and a remedy for each kind, and what is left out by rule."""
    yield (
        f"{findings.rows:,} rows of {findings.traces:,} conversations, {findings.completions:,} with a recorded "
        f"completion; the longest prompt has {findings.longest:,} characters"
    )
    if findings.wrong:
        kinds = len(findings.wrong)
        yield f"\nwrong: {findings.wrong.total():,}, of {kinds} kind{'s' if kinds > 1 else ''}"
        yield from _kinds(findings.wrong, findings, HINTS, "mend")
    if findings.left_out:
        yield f"\nleft out by rule, which is no mistake: {findings.left_out.total():,}"
        yield from _kinds(findings.left_out, findings, RULES, "why")
    yield "" if findings.wrong else "\nnothing is wrong"


def _kinds(counts: Counter[str], findings: Findings, words: dict[str, str], label: str) -> Iterator[str]:
    for kind, count in counts.most_common():
        yield f"  {kind}: {count:,}"
        yield f"    {label}: {words[kind]}"
        yield from (f"    {one_line(example, LONGEST)}" for example in findings.examples.get(kind, ()))
