"""Data sets of the Hugging Face hub, or local ones of its forms, as a source: `hf:NAME[:SPLIT]`.

The only file that imports `datasets`. It streams, so that nothing is downloaded whole; rows keep their order.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.quarantine import Quarantine
from common.toolbench.readers.columns import to_record
from common.toolbench.readers.sources import FILES_ALONE, KIND_OF_KEY, Kind, kind_of
from common.toolbench.rows import ROW_SCHEMA

PREFIX = "hf:"


@dataclass(frozen=True)
class DatasetOptions:
    """How a data set is read."""

    subset: str | None = None
    """The subset (`config_name`) of a data set that has several."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names of columns that aren't ToolBench's, by the field that they hold (`columns.FIELDS`)."""


@dataclass(frozen=True)
class DatasetSplit:
    """One split as a Source of records in ToolBench's form."""

    place: str
    name: str
    group: str
    rows: Iterable[dict[str, Any]]
    columns: Mapping[str, str]

    def records(self, quarantine: Quarantine) -> Iterator[tuple[str, Any]]:
        """The split's rows, one in memory at a time."""
        for number, row in enumerate(_guarded(self.rows, self.place), start=1):
            place = f"{self.place}, row {number}"
            try:
                yield place, to_record(row, self.columns)
            except BadRecord as error:
                quarantine.refuse(error, place, row)


def open_dataset(source: str, options: DatasetOptions, group: str | None) -> tuple[Kind, DatasetSplit]:
    """The split that `source` ("hf:NAME[:SPLIT]") names, and its kind; NAME is the hub's or a local folder.

    Rows are labelled `group`, else with the split's name. Raises UserError when there is no such data set or split, or
    its columns are of no known kind.
    """
    name, _, split = source.removeprefix(PREFIX).partition(":")
    splits = _load(name, options.subset)
    if not split and len(splits) == 1:
        [split] = splits
    if split not in splits:
        names = ", ".join(splits)
        raise UserError(f"{source}: got the split {split!r}, expected one of {names}; name it as {PREFIX}{name}:SPLIT")
    kind = _kind(source, splits[split], options.columns)
    return kind, DatasetSplit(source, split, group or split, splits[split], options.columns)


def _kind(source: str, rows: Iterable[dict[str, Any]], columns: Mapping[str, str]) -> Kind:
    first = next(_guarded(rows, source), None)
    if first is None:
        raise UserError(f"{source} holds no rows; name another split")
    if set(ROW_SCHEMA.names) <= set(first):
        raise UserError(f"{source} holds rows that are converted already; download its files and use their folder")
    own = {column: field for field, column in columns.items()}
    kind = kind_of(own.get(column, column) for column in first)
    if kind is None or kind in FILES_ALONE:
        known = ", ".join(key for key, kind in KIND_OF_KEY.items() if kind not in FILES_ALONE)
        raise UserError(
            f"{source} has the columns {', '.join(first)}, expected {known}; say which one it is, as with "
            "--column conversations=messages"
        )
    return kind


def _load(name: str, subset: str | None) -> Mapping[str, Iterable[dict[str, Any]]]:
    datasets = _import_datasets()
    path = Path(name).expanduser()
    try:
        return datasets.load_dataset(str(path) if path.is_dir() else name, name=subset, streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"can't open the data set {name!r} ({_line(error)}); give a name on the hub or a folder with Parquet, JSON "
            "or JSON Lines"
        ) from None


def _guarded(rows: Iterable[dict[str, Any]], place: str) -> Iterator[dict[str, Any]]:
    """The rows; what fails in `datasets`, such as a download or a file in it, is a UserError."""
    datasets = _import_datasets()
    rows, number = iter(rows), 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except (OSError, ValueError, TypeError, datasets.exceptions.DatasetsError) as error:
            raise UserError(f"{place}, after row {number}: can't be read on ({_line(error)}); mend the file") from None
        number += 1
        yield row


def _import_datasets() -> ModuleType:
    """`datasets` without torch, which it would import to make a stream; transformers heeds the same variable, so that
    it is set for the import alone."""
    before = os.environ.get("USE_TORCH")
    os.environ["USE_TORCH"] = "0"
    try:
        import datasets
    finally:
        del os.environ["USE_TORCH"]
        if before is not None:
            os.environ["USE_TORCH"] = before
    return datasets


def _line(error: Exception) -> str:
    """The first cause's words in one line: `datasets` wraps what happened in messages of its own."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return " ".join(str(error).split())[:300]
