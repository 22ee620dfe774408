"""A report of an experiment, or of runs side by side, from folders alone: `report.html`, `report.md`, the figures."""

from collections.abc import Sequence
from pathlib import Path

from common.files import write_atomically
from eval.compare.document import Document
from eval.compare.html import render_html
from eval.compare.inputs import Experiment, read_experiment
from eval.compare.markdown import FIGURES, render_markdown
from eval.compare.sections import comparisons, cost, curves, gate, overview, samples, success, table_one

SECTIONS = (overview, gate, comparisons, table_one, success, curves, cost, samples)


def compare(paths: Sequence[Path], output: Path) -> Path:
    """Write the report of what `paths` hold into the folder `output`; returns the HTML file.

    Raises UserError where a path holds nothing to report.
    """
    document = document_of(read_experiment(paths))
    (output / FIGURES).mkdir(parents=True, exist_ok=True)
    for plot in document.plots:
        write_atomically(output / FIGURES / f"{plot.name}.png", plot.png)
    write_atomically(output / "report.md", render_markdown(document))
    write_atomically(output / "report.html", render_html(document))
    return output / "report.html"


def document_of(experiment: Experiment) -> Document:
    """The report as data."""
    title = f"Experiment {experiment.manifest.name}" if experiment.manifest.arms else "Runs side by side"
    return Document(title, [each.section(experiment) for each in SECTIONS])
