"""The comparisons that were written down before anything ran: the primary one, and the others corrected together."""

from eval.compare.document import Block, Cell, Paragraph, Section, Table, number, plain
from eval.compare.inputs import Experiment
from eval.compare.manifest import Comparison
from eval.compare.outcomes import arm_outcomes
from eval.compare.sections import gate
from eval.compare.statistics import Estimate, estimate, holm, paired

Compared = tuple[Comparison, Estimate | None]
COLUMNS = ("comparison", "measure", "split", "tasks", "difference (points)", "95 % interval", "p", "p (Holm)", "says")


def section(experiment: Experiment) -> Section:
    """The primary comparison in words, and a table of all."""
    manifest = experiment.manifest
    if manifest.primary is None:
        text = "No comparison was written down before the runs: what follows describes, it doesn't decide."
        return Section("The comparison", [Paragraph(text, "note")])
    blocks: list[Block] = _primary(experiment, manifest.primary)
    secondary = [(each, difference(experiment, each)) for each in manifest.secondary]
    if secondary:
        blocks.append(_table(secondary))
    about = (
        "Differences are paired by task and seed; intervals draw seeds and tools anew (bootstrap). Failed and missing "
        "cells count in neither arm."
    )
    return Section("The comparison", [*blocks, Paragraph(about, "note")])


def difference(experiment: Experiment, comparison: Comparison) -> Estimate | None:
    """The first arm less the second on what both have; None where they have nothing in common."""
    first, second = (arm_outcomes(experiment, arm, comparison.split, comparison.measure) for arm in comparison.arms)
    differences = paired(first, second)
    return estimate(differences) if differences else None


def says(comparison: Comparison, found: Estimate | None) -> Cell:
    """What the interval says, whichever way it turned out."""
    first, second = comparison.arms
    if found is None:
        return Cell("not measured: the two have no task in common", "bad")
    if found.interval is None:
        return Cell("not known: all tasks are of one tool, which gives no interval", "bad")
    low, high = found.interval
    if low > 0 or high < 0:
        return Cell(f"{first} is {'better' if low > 0 else 'worse'} than {second}", "good" if low > 0 else "bad")
    if -comparison.margin <= low and high <= comparison.margin:
        return Cell(f"no difference: the interval lies within ±{_points(comparison.margin)} points")
    return Cell(f"not decided: the interval holds 0 and more than ±{_points(comparison.margin)} points", "note")


def _primary(experiment: Experiment, comparison: Comparison) -> list[Block]:
    found = difference(experiment, comparison)
    verdict = says(comparison, found)
    first, second = comparison.arms
    text = f"{comparison.measure} on {comparison.split}, {first} against {second}: {verdict.text}"
    if found is not None:
        text += f" ({_difference(found)} points, 95 % interval {_interval(found)}, {found.units} tasks)"
    blocks: list[Block] = [Paragraph(comparison.question)] if comparison.question else []
    blocks.append(Paragraph(f"{text}.", verdict.tone))
    if any(not check.passed for check in experiment.manifest.gate):
        blocks.append(gate.verdict(experiment))
    for arm in comparison.arms:
        if missing := [result for result in experiment.of(arm) if not result.episodes]:
            states = "; ".join(f"{result.cell.name} {result.state}" for result in missing)
            blocks.append(Paragraph(f"Without episodes of {arm}: {states}.", "bad"))
    return blocks


def _table(compared: list[Compared]) -> Table:
    measured = [found.p for _, found in compared if found]
    corrected = iter(holm(measured))
    rows = [_row(comparison, found, next(corrected) if found else None) for comparison, found in compared]
    return Table(COLUMNS, rows, "Secondary comparisons")


def _row(comparison: Comparison, found: Estimate | None, corrected: float | None) -> list[Cell]:
    named = plain(" − ".join(comparison.arms), comparison.measure, comparison.split)
    verdict = says(comparison, found)
    if found is None or corrected is None:
        return [*named, number(0, "{:d}"), *[number(None)] * 4, verdict]
    if verdict.tone in ("good", "bad") and corrected > 0.05:
        verdict = Cell("not decided: not once corrected for how many comparisons there are", "note")
    figures = [Cell(_difference(found), number=True), Cell(_interval(found), number=True)]
    return [
        *named, number(found.units, "{:d}"), *figures, number(found.p, "{:.4f}"), number(corrected, "{:.4f}"), verdict,
    ]  # fmt: skip


def _difference(found: Estimate) -> str:
    return f"{100 * found.mean:+.1f}"


def _interval(found: Estimate) -> str:
    return "–" if found.interval is None else "[{:+.1f}, {:+.1f}]".format(*(100 * end for end in found.interval))


def _points(share: float) -> str:
    return f"{100 * share:g}"
