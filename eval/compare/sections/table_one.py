"""The first experiment's Table 1, loss, perplexity and form on held-out rows, with every arm and all teachers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from eval.compare.document import Block, Paragraph, Section, Table, TableCell, plain
from eval.compare.inputs import Experiment
from eval.compare.scores import Score


@dataclass(frozen=True)
class Column:
    """A figure of the table: its heading, the score's measure that it is made of, how it is shown."""

    heading: str
    measure: str
    form: str
    of: Callable[[float], float] = float


COLUMNS = (
    Column("loss (nats)", "loss", "{:.3f}"),
    Column("perplexity", "loss", "{:.2f}", math.exp),
    Column("valid form", "valid", "{:.0%}"),
    Column("same action", "action_match", "{:.0%}"),
)


def section(experiment: Experiment) -> Section:
    """A table per split."""
    splits = dict.fromkeys(score.split for result in experiment.results for score in result.scores)
    if not splits:
        return Section("Table 1", [Paragraph("Nothing was scored: no cell has scores.", "note")])
    about = (
        "Mean over seeds, with the least and the most of them. Loss and perplexity are of recorded completions, form "
        "and action of those that the model wrote."
    )
    blocks: list[Block] = [Paragraph(about, "note"), *(_table(experiment, split) for split in splits)]
    return Section("Table 1: loss, perplexity and form", blocks)


def _table(experiment: Experiment, split: str) -> Table:
    columns = ("model", "is", "seeds", *(column.heading for column in COLUMNS))
    return Table(columns, [_row(experiment, title, split) for title in experiment.titles()], f"Split {split}")


def _row(experiment: Experiment, title: str, split: str) -> list[TableCell]:
    results = experiment.of(title)
    scores = [score for result in results for score in result.scores if score.split == split]
    about = experiment.manifest.arms.get(title) or f"the cell {experiment.manifest.roles.get(title, title)}"
    seeds = TableCell(
        f"{len(scores)} of {len(results)}", "plain" if len(scores) == len(results) else "bad", number=True
    )
    return [*plain(title, about), seeds, *(_figure(scores, column) for column in COLUMNS)]


def _figure(scores: Sequence[Score], column: Column) -> TableCell:
    values = [column.of(score.measures[column.measure]) for score in scores if column.measure in score.measures]
    if not values:
        return TableCell("not measured", "note", number=True)
    shown = column.form.format(mean(values))
    if len(values) > 1:
        shown += f" ({column.form.format(min(values))}–{column.form.format(max(values))})"
    return TableCell(shown, number=True)
