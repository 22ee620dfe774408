"""The comparisons that were written down before anything ran: the primary one, and the others corrected together."""

from eval.compare.document import Block, Paragraph, Section, Table, TableCell, number, plain
from eval.compare.inputs import Experiment
from eval.compare.manifest import Comparison
from eval.compare.outcomes import outcomes
from eval.compare.sections import gate
from eval.metrics.bootstrap import DIFFERENCES, Difference, difference
from eval.metrics.comparisons import holm, reading

Compared = tuple[Comparison, Difference | None]
COLUMNS = ("comparison", "measure", "split", "tasks", "difference (points)", "95 % interval", "p", "p (Holm)", "says")


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
        "Differences are paired by task and seed; intervals are of a bootstrap that draws seeds and their tools. "
        "Failed and missing cells count in neither arm."
    )
    return Section("The comparison", [*blocks, Paragraph(about, "note")])


def compared(experiment: Experiment, comparison: Comparison) -> Difference | None:
    """The first arm less the second on the tasks of both; None where they have none in common."""
    first, second = (outcomes(experiment, arm, comparison.split, comparison.measure) for arm in comparison.arms)
    return difference(first, second, DIFFERENCES)


def says(comparison: Comparison, found: Difference | None) -> TableCell:
    """What the interval says, whichever way it turned out."""
    (first, second), points = comparison.arms, f"±{100 * comparison.margin:g} points"
    if found is None:
        return TableCell("not measured: the two have no task in common", "bad")
    if found.p is None:
        return TableCell("not known: all tasks are of one tool, which gives no interval", "bad")
    match reading(found.interval, comparison.margin):
        case "higher":
            return TableCell(f"{first} is better than {second}", "good")
        case "lower":
            return TableCell(f"{first} is worse than {second}", "bad")
        case "no difference":
            return TableCell(f"no difference: the interval lies within {points}")
    return TableCell(f"not decided: the interval holds 0 and more than {points}", "note")


def _primary(experiment: Experiment, comparison: Comparison) -> list[Block]:
    found = compared(experiment, comparison)
    verdict = says(comparison, found)
    first, second = comparison.arms
    text = f"{comparison.measure} on {comparison.split}, {first} against {second}: {verdict.text}"
    if found is not None:
        text += f" ({_points(found)} points, 95 % interval {_interval(found)}, {found.interval.tasks} tasks)"
    blocks: list[Block] = [Paragraph(comparison.question)] if comparison.question else []
    blocks.append(Paragraph(f"{text}.", verdict.tone))
    if any(not check.passed for check in experiment.manifest.gate):
        blocks.append(gate.verdict(experiment))
    for arm in comparison.arms:
        if missing := [result for result in experiment.of(arm) if not result.episodes]:
            states = "; ".join(f"{result.cell.name} {result.state}" for result in missing)
            blocks.append(Paragraph(f"Without episodes of {arm}: {states}.", "bad"))
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
    figures = [TableCell(_points(found), number=True), TableCell(_interval(found), number=True)]
    ps = [number(p, "{:.4f}") for p in (found.p, corrected)]
    return [*named, number(found.interval.tasks, "{:d}"), *figures, *ps, verdict]


def _points(found: Difference) -> str:
    return f"{100 * found.interval.estimate:+.1f}"


def _interval(found: Difference) -> str:
    low, high = found.interval.low, found.interval.high
    return "–" if low is None or high is None else f"[{100 * low:+.1f}, {100 * high:+.1f}]"
