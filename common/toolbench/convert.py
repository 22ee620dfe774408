"""Converting a ToolBench source into Parquet rows, once, in bounded memory.

The output folder appears whole or not at all: it is written beside its place and moved there at the end.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from common.errors import UserError
from common.files import folder_in_place
from common.toolbench.quarantine import Quarantine
from common.toolbench.queries import read_queries
from common.toolbench.react import ParseError, parse_step
from common.toolbench.rows import PromptRow, write_rows
from common.toolbench.sources import Kind, SourceFile, find_files
from common.toolbench.toolllama import read_toolllama
from common.toolbench.trees import read_tree

READERS = {"toolllama": read_toolllama, "queries": read_queries, "trees": read_tree}
SKIPPED_FILE = "skipped.jsonl"


@dataclass
class Summary:
    """What a conversion gave; `with_thought` counts rows whose completion has a Thought that isn't empty."""

    rows: int = 0
    traces: int = 0
    with_thought: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def convert(source: Path, out: Path, skip_bad: bool = False, split_name: str | None = None) -> Summary:
    """Convert `source` into the folder `out`: Parquet shards, and `skipped.jsonl` with what was left out and why.

    Raises UserError when `out` isn't empty, the source is of no known kind, a record is in error (unless `skip_bad`) or
    no row is left.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and isn't an empty folder; give another output folder or remove it")
    kind, files = find_files(source, split_name)
    with folder_in_place(out) as folder:
        summary = _write(kind, files, folder, skip_bad)
        if not summary.rows:
            raise UserError(f"{source} gave no row; left out: {summary.skipped or 'nothing, it is empty'}")
    return summary


def _write(kind: Kind, files: list[SourceFile], folder: Path, skip_bad: bool) -> Summary:
    quarantine = Quarantine(folder / SKIPPED_FILE, skip_bad)
    summary = Summary()
    rows = (row for file in files for row in READERS[kind](file, quarantine))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:.0f} rows"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(f"converting {kind}", total=None)
        write_rows(folder, _count(rows, summary, lambda: progress.advance(task)))
    summary.skipped = dict(sorted(quarantine.counts.items()))
    return summary


def _count(rows: Iterator[PromptRow], summary: Summary, advance: Callable[[], None]) -> Iterator[PromptRow]:
    trace = None
    for row in rows:
        summary.rows += 1
        summary.traces += row.trace != trace
        summary.with_thought += _has_thought(row)
        trace = row.trace
        advance()
        yield row


def _has_thought(row: PromptRow) -> bool:
    try:
        return bool(parse_step(row.completion or "").thought.strip())
    except ParseError:
        return False
