"""Files of ToolBench's three kinds: found, told apart by what they hold, and read as streams.

- toolllama: an array of `{"id", "conversations"}`; the published one has 2 GB, so arrays are never loaded whole.
- queries: an array of `{"query", "query_id", "api_list"}`.
- trees: an object with `answer_generation`, one file per query.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ijson

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.quarantine import Quarantine

Kind = Literal["toolllama", "queries", "trees"]

TREE_KEYS = frozenset({"win", "tree", "trys", "answer_generation"})
"""What a tree's top level may begin with; it is known by its first key, since files are long."""


@dataclass(frozen=True)
class SourceFile:
    """One JSON file; `name` is its path below the source without suffix, `group` the label of its rows."""

    path: Path
    name: str
    group: str


def find_files(source: Path, group: str | None) -> tuple[Kind, list[SourceFile]]:
    """The JSON files of `source` (itself, or all below it, sorted) and the one kind they share.

    Rows are labelled `group`; without it, with a tree's folder or an array's file name. Raises UserError when there is
    no file, one is of no known kind, or kinds are mixed.
    """
    paths = sorted(source.rglob("*.json")) if source.is_dir() else [source]
    examples: dict[Kind, Path] = {}
    for path in paths:
        kind = _kind(path)
        if kind is not None:
            examples.setdefault(kind, path)
    if not examples:
        raise UserError(f"no readable JSON at {source}; expected toolllama or query files, or a folder of answer trees")
    if len(examples) > 1:
        named = ", ".join(f"{path} ({kind})" for kind, path in examples.items())
        raise UserError(f"{source} mixes kinds: {named}; convert each kind by itself")
    [kind] = examples
    return kind, [SourceFile(path, _name(path, source), group or _label(path, kind)) for path in paths]


def stream(file: SourceFile, quarantine: Quarantine) -> Iterator[tuple[str, Any]]:
    """The records of a JSON array, each with its place for errors, one in memory at a time.

    An array broken in its middle can't be taken up again: what follows is refused as one record, "broken_json".
    """
    number = 0
    try:
        with file.path.open("rb") as data:
            for number, record in enumerate(ijson.items(data, "item", use_float=True), start=1):
                yield f"{file.path}, row {number}", record
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())
        quarantine.refuse(
            BadRecord("broken_json", f"broken JSON after {number} rows ({reason})"), f"{file.path}, row {number + 1}"
        )


def _kind(path: Path) -> Kind | None:
    """The kind of a file by its first record; None where there isn't even one, which its reader then reports."""
    try:
        with path.open("rb") as data:
            for prefix, event, key in ijson.parse(data):
                if event != "map_key" or prefix not in ("", "item"):
                    continue
                if prefix == "" and key in TREE_KEYS:
                    return "trees"
                if prefix == "item" and key == "conversations":
                    return "toolllama"
                if prefix == "item" and key in ("query", "query_id", "api_list"):
                    return "queries"
    except ijson.JSONError:
        return None
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None
    raise UserError(f"{path} holds neither conversations, queries nor an answer tree; take it out of the source")


def _name(path: Path, source: Path) -> str:
    return path.stem if path == source else path.relative_to(source).with_suffix("").as_posix()


def _label(path: Path, kind: Kind) -> str:
    return path.resolve().parent.name if kind == "trees" else path.stem
