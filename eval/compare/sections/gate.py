"""The gate: conditions without which no comparison answers anything."""

from eval.compare.document import Paragraph, Section, Table, TableCell, number, plain
from eval.compare.inputs import Experiment
from eval.compare.manifest import GateCheck


def section(experiment: Experiment) -> Section:
    """The verdict and a line per check."""
    checks = experiment.manifest.gate
    columns = ("check", "seed", "got", "expected", "passed")
    table = [Table(columns, [_row(check) for check in checks], "The gate, per world seed")] if checks else []
    return Section("The gate", [verdict(experiment), *table])


def verdict(experiment: Experiment) -> Paragraph:
    """Whether the gate held."""
    checks = experiment.manifest.gate
    failed = [check for check in checks if not check.passed]
    if failed:
        text = f"The gate failed in {len(failed)} of {len(checks)} checks: read no comparison below as an answer."
        return Paragraph(text, "bad")
    if not checks:
        return Paragraph("No gate was measured, so nothing says that these models can answer the question.", "note")
    return Paragraph(f"The gate held: {len(checks)} of {len(checks)} checks passed.", "good")


def _row(check: GateCheck) -> list[TableCell]:
    passed = TableCell("yes", "good") if check.passed else TableCell("NO", "bad")
    seed, got = TableCell(str(check.seed), number=True), number(check.value)
    return [TableCell(check.check), seed, got, *plain(check.expected), passed]
