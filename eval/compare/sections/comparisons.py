"""The comparisons that were written down before anything ran: the primary one, and the others corrected together."""

from eval.compare.document import Block, Paragraph, Section, Table, TableCell, number, plain
from eval.compare.inputs import Experiment
from eval.compare.manifest import Comparison
from eval.compare.outcomes import LESS_IS_BETTER, difference_bounds, is_share, outcomes, outcomes_of
from eval.compare.sections import gate
from eval.metrics.bootstrap import Difference, difference
from eval.metrics.comparisons import holm, reading

Compared = tuple[Comparison, Difference | None]
COLUMNS = ("comparison", "measure", "split", "judged", "difference", "95 % interval", "p", "p (Holm)", "says")


def section(experiment: Experiment) -> Section:
    """The primary comparison in words, and a table of all."""
    manifest = experiment.manifest
    if manifest.primary is None:
        text = "No comparison was written down before the runs: what follows describes, it doesn't decide."
        return Section("The comparison", [Paragraph(text, "note")])
    blocks: list[Block] = _primary(experiment, manifest.primary)
    secondary = [(each, compared(experiment, each)) for each in manifest.secondary]
    if secondary:
        blocks.append(_table(secondary))
    about = (
        "Differences are paired by seed and task, or row; intervals are of a bootstrap that draws seeds and their "
        "tools. Failed and missing cells count in neither arm."
    )
    return Section("The comparison", [*blocks, Paragraph(about, "note")])


def compared(experiment: Experiment, comparison: Comparison) -> Difference | None:
    """The first arm less the second on what both were judged on; None where that is nothing."""
    split, measure = comparison.split, comparison.measure
    first, second = (outcomes_of(experiment, arm, split, measure) for arm in comparison.arms)
    return difference(first, second, difference_bounds(measure))


def says(comparison: Comparison, found: Difference | None) -> TableCell:
    """What the interval says, whichever way it turned out."""
    first, second = comparison.arms
    margin = f"±{100 * comparison.margin:g} points" if is_share(comparison.measure) else f"±{comparison.margin:g} nats"
    if found is None:
        return TableCell("not measured: the two have nothing in common that was judged", "bad")
    if found.p is None:
        return TableCell("not known: all is of one tool, which gives no interval", "bad")
    read = reading(found.interval, comparison.margin)
    if read == "no difference":
        return TableCell(f"no difference: the interval lies within {margin}")
    if read == "undecided":
        return TableCell(f"not decided: the interval holds 0 and more than {margin}", "note")
    is_better = (read == "higher") != (comparison.measure in LESS_IS_BETTER)
    return TableCell(f"{first} is {'better' if is_better else 'worse'} than {second}", "good" if is_better else "bad")


def _primary(experiment: Experiment, comparison: Comparison) -> list[Block]:
    found = compared(experiment, comparison)
    verdict = says(comparison, found)
    first, second = comparison.arms
    text = f"{comparison.measure} on {comparison.split}, {first} against {second}: {verdict.text}"
    if found is not None:
        amount = _amount(found.interval.estimate, comparison.measure)
        text += f" ({amount}, 95 % interval {_interval(found, comparison.measure)}, {found.interval.tasks} judged)"
    blocks: list[Block] = [Paragraph(comparison.question)] if comparison.question else []
    blocks.append(Paragraph(f"{text}.", verdict.tone))
    if any(not check.passed for check in experiment.manifest.gate):
        blocks.append(gate.verdict(experiment))
    for arm in comparison.arms:
        without = [each for each in experiment.of(arm) if not outcomes(each, comparison.split, comparison.measure)]
        if without:
            states = "; ".join(f"{result.cell.name} ({result.state})" for result in without)
            blocks.append(Paragraph(f"Cells of {arm} that it lacks: {states}.", "bad"))
    return blocks


def _table(family: list[Compared]) -> Table:
    corrected = iter(holm([found.p for _, found in family if found and found.p is not None]))
    rows = [
        _row(comparison, found, next(corrected) if found and found.p is not None else None)
        for comparison, found in family
    ]
    return Table(COLUMNS, rows, "Secondary comparisons")


def _row(comparison: Comparison, found: Difference | None, corrected: float | None) -> list[TableCell]:
    named = plain(" − ".join(comparison.arms), comparison.measure, comparison.split)
    verdict = says(comparison, found)
    if found is None:
        return [*named, number(0, "{:d}"), *[number(None)] * 4, verdict]
    if verdict.tone in ("good", "bad") and corrected is not None and corrected > 0.05:
        verdict = TableCell("not decided: not once corrected for how many comparisons there are", "note")
    amount = _amount(found.interval.estimate, comparison.measure)
    figures = [TableCell(text, number=True) for text in (amount, _interval(found, comparison.measure))]
    ps = [number(p, "{:.4f}") for p in (found.p, corrected)]
    return [*named, number(found.interval.tasks, "{:d}"), *figures, *ps, verdict]


def _amount(value: float, measure: str) -> str:
    """A difference in its unit."""
    return f"{100 * value:+.1f} points" if is_share(measure) else f"{value:+.3f} nats"


def _interval(found: Difference, measure: str) -> str:
    low, high = found.interval.low, found.interval.high
    return "–" if low is None or high is None else f"[{_amount(low, measure)}, {_amount(high, measure)}]"
