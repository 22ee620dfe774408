"""The measures of a scored and rewritten row, and samples of them, as intervals and comparisons take them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from common.quality.completions import Functions, compare_completions, judge_completion
from eval.metrics.bootstrap import SHARES, Bounds, Difference, Measured, difference, interval
from eval.results import Figure, RowResult

LOSS, EXCESS = "loss", "excess"


class Measure(NamedTuple):
    """How a measure of written completions is shown, and which rows it is a share of."""

    heading: str
    about: str


MEASURES = {
    "has_thought": Measure("Thought", "the label stands in its place"),
    "has_action": Measure("Action", "the label stands in its place"),
    "has_action_input": Measure("Input", "the label stands in its place"),
    "parses": Measure("parses", "Thought, Action and Action Input in this order"),
    "names_offered_api": Measure("offered API", "the action is on offer"),
    "arguments_are_json": Measure("JSON", "the action input is a JSON object"),
    "required_present": Measure("required", "with all required parameters"),
    "valid": Measure("valid", "all four: a tool environment can run it"),
    "hallucinates": Measure("made up", "of those that parse: the action isn't on offer"),
    "same_action": Measure("same action", "the recorded one"),
    "arguments_exact": Measure("exact", "of recorded calls: same action, same arguments to the letter"),
    "arguments_equal": Measure("equal", "of recorded calls: same action, arguments that mean the same"),
    "calls": Measure("calls", "of recorded calls: calls a function on offer"),
    "abstains": Measure("abstains", "of recorded Finish: finishes too"),
    "finishes_early": Measure("early Finish", "of recorded calls: finishes instead, and doesn't give up"),
    "gives_up": Measure("gives up", "is a Finish that gives up"),
    "is_raw_json": Measure("raw JSON", "no step, but JSON"),
    "repetition": Measure("repetition", "share of its runs of four words that stood in it before"),
    "cut_off": Measure("cut off", "reached the longest completion without an end"),
}
"""By their names in `RowResult.measures`; see `common.quality.completions`."""


def measures_of(recorded: str, written: str, offered: Functions, cut_off: bool) -> dict[str, float | None]:
    """All MEASURES of one written completion; texts in ToolBench's form."""
    report, agreement = judge_completion(written, offered), compare_completions(recorded, written, offered)
    form = asdict(report.form) | {"valid": report.form.valid, "cut_off": cut_off}
    found = asdict(report) | asdict(agreement) | form
    return {name: None if found[name] is None else float(found[name]) for name in MEASURES}


def sample(rows: Iterable[RowResult], measure: str, world: str = "") -> list[Measured]:
    """A measure of each row, clustered by tool; rows of several worlds are told apart by `world`."""
    return [Measured(row.row, row.tool, *_value(row, measure), world) for row in rows]


def figure(rows: Sequence[RowResult], measure: str) -> Figure:
    """A measure over `rows`, with its interval."""
    measured = sample(rows, measure)
    found = interval(measured, SHARES if measure in MEASURES else None)
    if found is None:
        return Figure(value=None)
    return Figure(value=found.estimate, low=found.low, high=found.high, rows=sum(each.weight > 0 for each in measured))


def compare_rows(
    first: Iterable[RowResult], second: Iterable[RowResult], measure: str, bounds: Bounds | None
) -> Difference | None:
    """By how much the first model's measure is above the second one's, on the rows that both were judged on."""
    return difference(sample(first, measure), sample(second, measure), bounds)


def _value(row: RowResult, measure: str) -> tuple[float, float]:
    """The row's value and weight."""
    if measure == LOSS:
        return row.nats, row.tokens
    if measure == EXCESS:
        return (0.0, 0.0) if row.floor_nats is None else (row.nats - row.floor_nats, 1.0)
    value = row.measures[measure]
    return (0.0, 0.0) if value is None else (value, 1.0)
