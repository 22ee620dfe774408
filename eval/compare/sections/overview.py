"""What the experiment asked, where it ran, and what became of each of its cells: none is left out."""

from eval.compare.document import Block, Paragraph, Section, Table, TableCell, plain
from eval.compare.inputs import Experiment, Result
from eval.visible_text import one_line


def section(experiment: Experiment) -> Section:
    """The question, the environment, and a line per cell."""
    manifest, blocks = experiment.manifest, list[Block]()
    if manifest.question:
        blocks.append(Paragraph(manifest.question))
    if where := manifest.environment:
        versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
        blocks.append(Paragraph(f"{where.date}, on {where.machine}: {where.command}. {versions}".strip(), "note"))
    missing = [result for result in experiment.results if result.cell.status != "done"]
    if missing:
        names = ", ".join(result.cell.name for result in missing)
        total = len(experiment.results)
        blocks.append(Paragraph(f"{len(missing)} of {total} cells are missing from all that follows: {names}.", "bad"))
    blocks += [_arms(experiment), _cells(experiment)] if manifest.arms else [_cells(experiment)]
    return Section("What was compared", blocks)


def _arms(experiment: Experiment) -> Table:
    roles = [(role, f"the cell {name}") for role, name in experiment.manifest.roles.items()]
    rows = [plain(*each) for each in (*experiment.manifest.arms.items(), *roles)]
    return Table(("arm", "is"), rows, "Arms and roles")


def _cells(experiment: Experiment) -> Table:
    columns = ("cell", "arm", "seed", "what became of it", "what its folders lack")
    return Table(columns, [_cell(result) for result in experiment.results], "Cells")


def _cell(result: Result) -> list[TableCell]:
    cell = result.cell
    state = TableCell(one_line(result.state, 300), "good" if cell.status == "done" else "bad")
    problems = one_line("; ".join(result.problems), 600)
    return [*plain(cell.name, result.title), TableCell(str(cell.seed), number=True), state, TableCell(problems, "bad")]
