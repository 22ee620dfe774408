"""The record: every answer that the teacher gave, appended as it arrives, and found again by its place in the order.

A segment is an Arrow IPC stream of the wire's own columns behind a key. There is one per rank and start, never
rewritten. A segment torn by a crash is read up to its last whole answer; where starts overlap, the later one counts.
"""

import logging
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from common import wire
from common.api import DistillRequest
from common.errors import UserError

VERSION = "1"
SUFFIX = ".arrows"
KEY_FIELDS = [
    pa.field("epoch", pa.int32(), nullable=False),
    pa.field("position", pa.int64(), nullable=False),
    pa.field("request", pa.string(), nullable=False),
]

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """A prompt's place in the global order; epoch -1 is the validation slice."""

    epoch: int
    position: int


def digest(request: DistillRequest) -> str:
    """SHA-256 of all that was asked: tokens, model, k, sampling and its seed."""
    return sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()


class RecordWriter:
    """Appends to a segment of its own in `folder`, which is made with the first answer."""

    def __init__(self, folder: Path, rank: int, top_k: int, dtype: wire.LogprobDtype) -> None:
        self._folder, self._rank = folder, rank
        self._wire_schema = wire.schema(top_k, dtype)
        self._schema = pa.schema([*KEY_FIELDS, *self._wire_schema], {**self._wire_schema.metadata, "record": VERSION})
        self._file: pa.OSFile | None = None
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    def append(self, key: Key, request: DistillRequest, answer: wire.TeacherAnswer) -> None:
        """Append `answer` and hand it to the operating system.

        Raises UserError when it can't be written.
        """
        values = [[key.epoch], [key.position], [digest(request)]]
        columns = [pa.array(value, field.type) for value, field in zip(values, KEY_FIELDS, strict=True)]
        columns += wire.to_batch(answer, self._wire_schema).columns
        try:
            self._open().write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        except OSError as error:
            raise UserError(f"can't append to the record in {self._folder}: {error}; free space or move it") from None

    def close(self) -> None:
        """Write the end marker; nothing depends on it."""
        if self._stream is not None and self._file is not None:
            self._stream.close()
            self._file.close()

    def _open(self) -> pa.ipc.RecordBatchStreamWriter:
        if self._stream is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            start = 1 + max((_start(path) for path in _segments(self._folder)), default=0)
            path = self._folder / f"start-{start:06d}-rank-{self._rank:05d}{SUFFIX}"
            self._file = pa.OSFile(str(path), "wb")
            self._stream = pa.ipc.new_stream(self._file, self._schema)
        return self._stream


class RecordReader:
    """Finds recorded answers; holds places in memory, never answers.

    Raises UserError when a segment was written by another version.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        paths = [path for folder in folders for path in _segments(folder) if path.stat().st_size]
        self._files = [pa.memory_map(str(path)) for path in paths]
        self._schemas: list[pa.Schema] = []
        self._index: dict[Key, tuple[int, int]] = {}  # key → (segment, offset)
        for segment, (path, file) in enumerate(zip(paths, self._files, strict=True)):
            self._schemas.append(_read_schema(path, file))
            self._index |= {key: (segment, offset) for key, offset in _scan(path, file, self._schemas[-1])}

    def __len__(self) -> int:
        return len(self._index)

    def find(self, key: Key, request: DistillRequest) -> wire.TeacherAnswer | None:
        """The recorded answer to `request`, or None.

        Raises UserError when another request was recorded for `key`.
        """
        if key not in self._index:
            return None
        segment, offset = self._index[key]
        file = self._files[segment]
        file.seek(offset)
        batch = _read_batch(file, self._schemas[segment])
        if batch.column("request")[0].as_py() != digest(request):
            raise UserError(
                f"the record holds the answer to another request at epoch {key.epoch}, position {key.position}; replay "
                "it with the data, model, seeds, sampling and top_k that it was made with, or set teacher.source: live"
            )
        (answer,) = wire.from_batch(batch.select([field.name for field in batch.schema][len(KEY_FIELDS) :]))
        return answer

    def close(self) -> None:
        """Close the segments."""
        for file in self._files:
            file.close()


def _segments(folder: Path) -> list[Path]:
    """Segments in the order of their starts."""
    return sorted(folder.glob(f"start-*{SUFFIX}"))


def _start(path: Path) -> int:
    return int(path.name.split("-")[1])


def _read_schema(path: Path, file: pa.NativeFile) -> pa.Schema:
    """The segment's schema, or the empty one where a crash tore the head of the segment."""
    try:
        schema = pa.ipc.read_schema(file)
    except (pa.ArrowException, OSError, EOFError):
        return pa.schema([])
    version = (schema.metadata or {}).get(b"record", b"none").decode(errors="replace")
    if version != VERSION:
        raise UserError(f"{path} is a record of version {version}, this reader knows {VERSION}; update the older side")
    try:
        wire.check_schema(pa.schema(list(schema)[len(KEY_FIELDS) :], schema.metadata))
    except wire.WireError as error:
        raise UserError(f"{path}: {error}") from None
    return schema


def _scan(path: Path, file: pa.NativeFile, schema: pa.Schema) -> Iterator[tuple[Key, int]]:
    """Places of the segment's whole answers."""
    end = file.size()
    while schema.names and (offset := file.tell()) < end:
        try:
            batch = _read_batch(file, schema)
        except EOFError:
            return  # the end marker
        except (pa.ArrowException, OSError):
            log.warning("%s: its last %d bytes are torn and left out", path, end - offset)
            return
        yield Key(batch.column("epoch")[0].as_py(), batch.column("position")[0].as_py()), offset


def _read_batch(file: pa.NativeFile, schema: pa.Schema) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(pa.ipc.read_message(file), schema)
