"""Files of five kinds, three of them ToolBench's: found, told apart by what they hold, and read as streams.

- toolllama: records `{"id", "conversations"}`; the published file has 2 GB, so none is loaded whole.
- chats: records `{"messages", "tools"}`, as OpenAI's fine-tuning has them.
- queries: records `{"query", "query_id", "api_list"}`.
- trees: an object with `answer_generation`, one file per query.
- trajectories: records `{"episode", "steps"}`, the `episodes.jsonl` of a rollout; its folder may be given for it.

Records stand in a JSON array or in JSON Lines.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.quarantine import Quarantine
from common.toolbench.readers.json_records import json_records

Kind = Literal["toolllama", "chats", "queries", "trees", "trajectories"]

SUFFIXES = frozenset({".json", ".jsonl"})
EPISODES = "episodes.jsonl"
TREE = re.compile(rb'[^"[]*"(?:win|tree|trys|answer_generation)"')
"""How a file with a tree begins; it is known by its first key, since such files are long."""
KIND_OF_KEY: dict[str, Kind] = {
    "conversations": "toolllama",
    "messages": "chats",
    "episode": "trajectories",
    "query": "queries",
    "query_id": "queries",
    "api_list": "queries",
    "answer_generation": "trees",
}
FILES_ALONE = ("trees", "trajectories")
"""Kinds that no data set of the hub is read as."""


class Source(Protocol):
    """Where a reader's records come from; `name` begins the ids of its rows, `group` is their label."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...

    def records(self, quarantine: Quarantine) -> Iterator[tuple[str, Any]]:
        """Each record with its place for errors, one in memory at a time; broken ones are refused."""
        ...


@dataclass(frozen=True)
class SourceFile:
    """One JSON file as a Source; `name` is its path below the folder that is converted, without suffix."""

    path: Path
    name: str
    group: str

    def records(self, quarantine: Quarantine) -> Iterator[tuple[str, Any]]:
        """The records of the file's array or lines."""
        for number, record in enumerate(json_records(self.path), start=1):
            place = f"{self.path}, row {number}"
            if isinstance(record, BadRecord):
                quarantine.refuse(record, place)
            else:
                yield place, record


def find_files(source: Path, group: str | None) -> tuple[Kind, list[SourceFile]]:
    """The JSON files of `source` (itself, or all below it, sorted) and the one kind they share.

    Rows are labelled `group`; without it, with a tree's folder or an array's file name. Raises UserError when there is
    no file, one is of no known kind, or kinds are mixed.
    """
    source = source / EPISODES if (source / EPISODES).is_file() else source
    paths = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES) if source.is_dir() else [source]
    examples: dict[Kind, Path] = {}
    causes = []
    for path in paths:
        try:
            examples.setdefault(_kind(path), path)
        except BadRecord as error:
            causes.append(f" ({path}: {error})")
    if not examples:
        cause = causes[0] if causes else ""
        raise UserError(
            f"no readable JSON at {source}{cause}; expected toolllama or query files, or a folder of answer trees"
        )
    if len(examples) > 1:
        named = ", ".join(f"{path} ({kind})" for kind, path in examples.items())
        raise UserError(f"{source} mixes kinds: {named}; convert each kind by itself")
    [kind] = examples
    files = [SourceFile(path, _name(path, source), group or _label(path, kind)) for path in paths]
    for name, count in Counter(file.name for file in files).items():
        if count > 1:
            raise UserError(f"{source} has {count} files named {name}, whose rows would share ids; rename all but one")
    return kind, files


def kind_of(keys: Iterable[str]) -> Kind | None:
    """The kind of a record with these keys; of several kinds' keys the first counts that KIND_OF_KEY names."""
    found = set(keys)
    return next((kind for key, kind in KIND_OF_KEY.items() if key in found), None)


def _kind(path: Path) -> Kind:
    """The kind of a file by its first record of a known one.

    Raises BadRecord when not one record is whole, which its reader then reports; UserError when none has known keys.
    """
    if _begins_as_tree(path):
        return "trees"
    broken, whole = None, False
    for record in json_records(path):
        if isinstance(record, BadRecord):
            broken = broken or record
            continue
        whole = True
        kind = kind_of(record) if isinstance(record, dict) else None
        if kind is not None:
            return kind
    if broken is not None and not whole:
        raise broken
    raise UserError(
        f"{path} holds neither conversations, messages, queries nor an answer tree; take it out of the source"
    )


def _name(path: Path, source: Path) -> str:
    return path.stem if path == source else path.relative_to(source).with_suffix("").as_posix()


def _label(path: Path, kind: Kind) -> str:
    return path.resolve().parent.name if kind == "trees" else path.stem


def _begins_as_tree(path: Path) -> bool:
    """Whether the first key is a tree's; zeros are left out, so that UTF-16 reads alike."""
    try:
        with path.open("rb") as file:
            return TREE.match(file.read(400).replace(b"\0", b"")) is not None
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; give a file or folder that exists") from None
