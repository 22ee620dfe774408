"""The first experiment's Table 1, loss, perplexity and form on held-out rows, with every arm and all teachers."""

import math

from common.toolbench.react import PARTS
from eval.compare import figures
from eval.compare.document import Block, Paragraph, Section, Table, TableCell, count_of, number, plain
from eval.compare.inputs import Experiment
from eval.compare.outcomes import estimate, is_share
from eval.metrics.bootstrap import Interval
from eval.metrics.loss import loss_of
from eval.metrics.measures import EXCESS, LOSS, MEASURES

SHOWN = {LOSS: "loss (nats)", EXCESS: "above the world's floor (nats a row)", "valid": "valid form"}
OTHERS = {name: measure.heading for name, measure in MEASURES.items() if name != "valid"}


def section(experiment: Experiment) -> Section:
    """Bars of valid form, and for each split the table, and all that is measured of form and calls."""
    splits = list(dict.fromkeys(split for result in experiment.results for split in result.scores.judgements))
    if not splits:
        return Section("Table 1", [Paragraph("Nothing was scored: no cell has scores.", "note")])
    about = (
        "Loss and perplexity are of recorded completions, form of those that the model wrote; means over the rows of "
        "all seeds, with 95 % intervals."
    )
    titles = experiment.titles()
    valid = {split: {title: estimate(experiment, title, split, "valid") for title in titles} for split in splits}
    blocks: list[Block] = [Paragraph(about, "note"), figures.bars("form_by_split", "Valid completions", valid)]
    for split in splits:
        blocks += [_table(experiment, split), _everything(experiment, split)]
    return Section("Table 1: loss, perplexity and form", blocks)


def _table(experiment: Experiment, split: str) -> Table:
    parts = (f"loss of {part.replace('_', ' ')}" for part in PARTS)
    columns = ("model", "is", "seeds", "rows left out", *SHOWN.values(), "perplexity", *parts)
    return Table(columns, [_row(experiment, title, split) for title in experiment.titles()], f"Split {split}")


def _row(experiment: Experiment, title: str, split: str) -> list[TableCell]:
    results = experiment.of(title)
    judgements = [found for result in results if (found := result.scores.judgements.get(split))]
    about = experiment.manifest.arms.get(title) or f"the cell {experiment.manifest.roles.get(title, title)}"
    left_out = sum(len(judgement.left_out) for judgement in judgements)
    loss = estimate(experiment, title, split, LOSS)
    parts = {
        part: loss_of((each.tokens, each.tokens * each.loss) for one in judgements if (each := one.parts.get(part)))
        for part in PARTS
    }
    return [
        *plain(title, about), count_of(len(judgements), len(results)),
        number(left_out, "{:d}") if judgements else _figure(None),
        *(_figure(estimate(experiment, title, split, measure), measure) for measure in SHOWN),
        number(math.exp(loss.estimate), "{:.2f}") if loss else _figure(None),
        *(number(found.loss if found else None) for found in parts.values()),
    ]  # fmt: skip


def _everything(experiment: Experiment, split: str) -> Table:
    rows = [
        [TableCell(title), *(_figure(estimate(experiment, title, split, measure), measure) for measure in OTHERS)]
        for title in experiment.titles()
    ]
    return Table(("model", *OTHERS.values()), rows, f"Written completions on {split}")


def _figure(found: Interval | None, measure: str = "") -> TableCell:
    """A figure with its interval."""
    if found is None:
        return TableCell("not measured", "note", number=True)
    form = "{:.1%}" if is_share(measure) else "{:.3f}"
    ends = "" if found.low is None else f" [{form.format(found.low)}, {form.format(found.high)}]"
    return TableCell(form.format(found.estimate) + ends, number=True)
