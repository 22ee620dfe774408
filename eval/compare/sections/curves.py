"""What the runs measured step by step: loss, KL, masses and entropies, waiting, form."""

from dataclasses import dataclass

from eval.compare import figures
from eval.compare.document import Block, Paragraph, Section, Table, TableCell, number, plain
from eval.compare.figures import Line
from eval.compare.inputs import Experiment, Result
from eval.compare.runs import Run

WAITED = "share of a step that waited"


@dataclass(frozen=True)
class Curves:
    """A figure: metrics by the headings of its panels."""

    name: str
    caption: str
    unit: str
    metrics: dict[str, str]


CURVES = (
    Curves(
        "loss", "Cross-entropy of the written tokens", "nats per token",
        {"training": "train/ce", "held-out rows": "validation/ce"},
    ),
    Curves(
        "kl", "KL of the student from its teacher", "nats per token",
        {"training": "train/kl", "held-out rows": "validation/kl"},
    ),
    Curves(
        "mass", "Probability mass on the teacher's top k", "share",
        {"teacher": "train/teacher_mass", "student": "train/student_mass"},
    ),
    Curves(
        "entropy", "Entropy of the masses", "nats",
        {"teacher": "train/teacher_entropy", "student": "train/student_entropy"},
    ),
    Curves("waiting", "Time waited for the teacher", "share of the step", {WAITED: WAITED}),
    Curves(
        "form", "Form of completions that the student wrote for held-out prompts", "share",
        {"valid": "watchdog/valid", "raw JSON": "watchdog/raw_json", "unknown APIs": "watchdog/unknown_api",
         "repetition": "watchdog/repetition"},
    ),
)  # fmt: skip
"""The figures; the form is what the trainer's watchdog measures."""
HELD_OUT = {
    "cross-entropy": "ce", "KL": "kl", "teacher's mass": "teacher_mass", "student's mass": "student_mass",
    "teacher's entropy": "teacher_entropy", "student's entropy": "student_entropy",
}  # fmt: skip
"""Headings, and names in a summary's validation."""


def section(experiment: Experiment) -> Section:
    """A figure for each of CURVES that some run measured, and a line for each other."""
    if not any(result.run for result in experiment.results):
        return Section("Over the steps", [Paragraph("No cell has a run folder.", "note")])
    return Section("Over the steps", [*(_block(experiment, each) for each in CURVES), _held_out(experiment)])


def _block(experiment: Experiment, drawn: Curves) -> Block:
    panels = {heading: _lines(experiment, metric) for heading, metric in drawn.metrics.items()}
    measured = {heading: lines for heading, lines in panels.items() if lines}
    if not measured:
        return Paragraph(f"{drawn.caption}: no run measured it.", "note")
    without = [heading for heading in panels if heading not in measured]
    caption = drawn.caption + (f" (not measured: {', '.join(without)})" if without else "")
    return figures.curves(drawn.name, caption, measured, drawn.unit, experiment.titles())


def _held_out(experiment: Experiment) -> Table:
    """What validation measured before the first step and after the last."""
    columns = ("cell", *(f"{heading}, {when}" for heading in HELD_OUT for when in ("before", "after")))
    return Table(columns, [_row(result) for result in experiment.results if result.run], "Held-out rows")


def _row(result: Result) -> list[TableCell]:
    summary = result.run.summary if result.run else {}
    ends = [summary.get(f"validation_{when}") or {} for when in ("before", "after")]
    return [*plain(result.cell.name), *(number(end.get(name)) for name in HELD_OUT.values() for end in ends)]


def _lines(experiment: Experiment, metric: str) -> list[Line]:
    lines = [(result.title, _points(result.run, metric)) for result in experiment.results if result.run]
    return [(title, points) for title, points in lines if points]


def _points(run: Run, metric: str) -> list[tuple[float, float]]:
    if metric != WAITED:
        return run.series(metric)
    waited = dict(run.series("time/waited_s"))
    return [(step, waited[step] / seconds) for step, seconds in run.series("time/step_s") if step in waited and seconds]
