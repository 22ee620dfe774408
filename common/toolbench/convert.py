"""Converting a ToolBench source into Parquet rows, once, in bounded memory.

The output folder appears whole or not at all: it is written beside its place and moved there at the end.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from common.errors import UserError
from common.files import folder_in_place
from common.toolbench.augment import Augmentation
from common.toolbench.card import write_card
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import ParseError, parse_step
from common.toolbench.readers.chats import read_chats
from common.toolbench.readers.dataset_source import PREFIX, DatasetOptions, open_dataset
from common.toolbench.readers.queries import read_queries
from common.toolbench.readers.sources import SourceFile, find_files
from common.toolbench.readers.toolllama import read_toolllama
from common.toolbench.readers.trajectories import read_trajectories
from common.toolbench.readers.trees import read_tree
from common.toolbench.rows import PromptRow, write_rows

RECORD_READERS = {"toolllama": read_toolllama, "chats": read_chats, "queries": read_queries}
Reader = Callable[[Quarantine], Iterator[PromptRow]]
GiveUp = Literal["leave-out", "keep"]
Episodes = Literal["solved", "finished"]
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


def convert(
    source: str | Path,
    out: Path,
    *,
    skip_bad: bool = False,
    split_name: str | None = None,
    give_up: GiveUp = "leave-out",
    episodes: Episodes = "solved",
    dataset: DatasetOptions | None = None,
    augmentation: Augmentation | None = None,
) -> Summary:
    """Convert `source` into the folder `out`: Parquet shards, their card, and `skipped.jsonl` with what was left out.

    `split_name` labels all rows, `give_up` is what becomes of answer trees that give up in the end, `episodes` which
    trajectories give rows, `dataset` how a source "hf:NAME[:SPLIT]" is read, and `augmentation` what is changed in rows
    to train on. Raises UserError when `out` isn't empty, the source is of no known kind, a record is in error (unless
    `skip_bad`) or no row is left.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and isn't an empty folder; give another output folder or remove it")
    reader = open_source(str(source), split_name, give_up, episodes, dataset)
    change = augmentation.rows if augmentation else iter
    with folder_in_place(out) as folder:
        summary = _write(lambda quarantine: change(reader(quarantine)), folder, skip_bad)
        if not summary.rows:
            raise UserError(f"{source} gave no row; left out: {summary.skipped or 'nothing, it is empty'}")
        write_card(folder, str(source), summary.rows, summary.traces, str(augmentation or ""))
    return summary


def open_source(
    source: str,
    group: str | None = None,
    give_up: GiveUp = "leave-out",
    episodes: Episodes = "solved",
    dataset: DatasetOptions | None = None,
) -> Reader:
    """What reads `source`, which is looked at now, so that a mistake in its name is told at once, by a UserError."""
    if source.startswith(PREFIX):
        kind, split = open_dataset(source, dataset or DatasetOptions(), group)
        return partial(RECORD_READERS[kind], split)
    if dataset:
        raise UserError(f"got --subset or --column with the files at {source}, expected a data set, {PREFIX}NAME")
    kind, files = find_files(Path(source), group)
    readers: dict[str, Callable[[SourceFile, Quarantine], Iterator[PromptRow]]] = {
        **RECORD_READERS,
        "trees": partial(read_tree, keep_give_up=give_up == "keep"),
        "trajectories": partial(read_trajectories, solved_only=episodes == "solved"),
    }
    read = readers[kind]
    return lambda quarantine: (row for file in files for row in read(file, quarantine))


def _write(reader: Reader, folder: Path, skip_bad: bool) -> Summary:
    quarantine = Quarantine(folder / SKIPPED_FILE, skip_bad)
    summary = Summary()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:.0f} rows"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("converting", total=None)
        write_rows(folder, _count(reader(quarantine), summary, lambda: progress.advance(task)))
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
