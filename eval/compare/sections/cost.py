"""What each cell took: seconds, tokens, waiting, and in the run's own words what held it up."""

from typing import Any

from eval.compare.document import Block, Paragraph, Section, Table, TableCell, number, plain
from eval.compare.inputs import Experiment, Result
from eval.visible_text import one_line

COLUMNS = (
    "cell", "seconds in all", "seconds of training", "steps", "prompts used", "set aside", "tokens per second",
    "waited for the teacher", "price of episodes", "what held it up",
)  # fmt: skip


def section(experiment: Experiment) -> Section:
    """A line per cell, and all of them together."""
    table = Table(COLUMNS, [_row(result) for result in experiment.results], "Cost by cell")
    timed = [result.cell.seconds for result in experiment.results if result.cell.seconds is not None]
    blocks: list[Block] = [table]
    if timed:
        text = f"{len(timed)} of {len(experiment.results)} cells say what they took: {sum(timed):,.0f} s together."
        blocks.insert(0, Paragraph(text))
    return Section("Cost and time", blocks)


def _row(result: Result) -> list[TableCell]:
    summary = result.run.summary if result.run else {}
    set_aside = _figure(summary, "quarantined"), _figure(summary, "dropped_by_length")
    price = sum(episode.price for episode in result.episodes)
    return [
        *plain(result.cell.name),
        number(result.cell.seconds, "{:,.0f}"),
        number(_figure(summary, "seconds"), "{:,.1f}"),
        number(_figure(summary, "steps"), "{:,.0f}"),
        number(_figure(summary, "used"), "{:,.0f}"),
        number(None if None in set_aside else sum(each or 0 for each in set_aside), "{:,.0f}"),
        number(_figure(summary, "tokens_per_s"), "{:,.0f}"),
        number(_figure(summary, "waited_fraction"), "{:.0%}"),
        number(price or None, "{:.4f}"),
        *plain(one_line(str(summary.get("verdict", "")), 300)),
    ]


def _figure(summary: dict[str, Any], name: str) -> float | None:
    value = summary.get(name)
    return float(value) if isinstance(value, int | float) else None
