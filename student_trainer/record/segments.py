"""Segments: the record as it is appended, an Arrow IPC stream of the wire's own columns behind a key.

A segment is named by its start, rank and part, held under a lock while its writer lives, and never rewritten. One torn
by a crash is read up to its last whole answer. Once closed it becomes a Parquet file of that name (`compaction.py`).
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from common import wire
from common.errors import UserError
from student_trainer.data.plan import Key

VERSION = "3"
SEGMENT, COMPACTED = ".arrows", ".parquet"
ENTRY_FIELDS = [
    pa.field("epoch", pa.int32(), nullable=False),
    pa.field("index", pa.int64(), nullable=False),
    pa.field("request", pa.string(), nullable=False),
    pa.field("failure", pa.string()),
]
"""What an entry holds beside the answer: its key, the digest of what was asked, and why there is no answer, if so."""
KEY = ("epoch", "index")
HEAD_BYTES = 4096
"""More than the schema takes: a longer file whose schema can't be read wasn't torn by a crash."""

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an answer is: `at` is what the part that holds it reads it by."""

    key: Key
    revision: str
    at: int


def record_schema(wire_schema: pa.Schema) -> pa.Schema:
    """A segment's schema: ENTRY_FIELDS, then the columns of `wire_schema`."""
    return pa.schema([*ENTRY_FIELDS, *wire_schema], {**wire_schema.metadata, "record": VERSION})


def stems(folder: Path) -> list[Path]:
    """The parts of a record without their suffixes, in the order of their starts."""
    return sorted({path.with_suffix("") for path in folder.glob("start-*") if path.suffix in (SEGMENT, COMPACTED)})


def segment_name(start: int, rank: int = 0, part: int = 0) -> str:
    """The file name of a segment."""
    return f"start-{start:06d}-rank-{rank:05d}-part-{part:06d}{SEGMENT}"


class SegmentWriter:
    """A segment of our own in `folder`, made now and locked until it is closed; its start follows all others if None.

    Raises OSError.
    """

    def __init__(self, folder: Path, rank: int, start: int | None, part: int, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            self.start = start or 1 + max((_start(stem) for stem in stems(folder)), default=0)
            self.path = folder / segment_name(self.start, rank, part)
            with suppress(FileExistsError):
                self._lock = self.path.open("xb")
                with suppress(OSError):  # where nothing can be locked, nobody compacts
                    fcntl.flock(self._lock, fcntl.LOCK_EX)
                if os.fstat(self._lock.fileno()).st_nlink:
                    break
                self._lock.close()  # someone took it for a leftover before it was locked
            part += 1
        self._file = pa.OSFile(str(self.path), "wb")
        self._stream = pa.ipc.new_stream(self._file, schema)

    def append(self, batch: pa.RecordBatch) -> int:
        """Append and hand to the operating system; returns the segment's size. Raises OSError."""
        self._stream.write_batch(batch)
        return int(self._file.tell())

    def close(self) -> None:
        """Give the segment up, without an end marker: nothing depends on one."""
        self._file.close()
        self._lock.close()


@contextmanager
def held(segment: Path) -> Iterator[bool]:
    """Hold the lock of `segment`; False where its writer lives, or someone else compacts or has removed it."""
    try:
        file = segment.open("r+b")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield os.fstat(file.fileno()).st_nlink > 0


class Segment:
    """An Arrow IPC segment, open for reading.

    Raises OSError when it can't be opened or read at all, UserError when it was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = pa.OSFile(str(path))  # mapped memory of a file that another node removes would be a bus error
        self._schema = self._read_schema()
        self._body = self._file.tell()

    def places(self) -> Iterator[Place]:
        """Places of the whole answers, in the order of their arrival."""
        for at, batch in self.batches():
            key = Key(*(batch.column(name)[0].as_py() for name in KEY))
            yield Place(key, batch.column("revision")[0].as_py(), at)

    def read(self, at: int) -> tuple[pa.RecordBatch, int]:
        """The batch that holds the answer at `at`, and its row there; ArrowException or OSError when it is damaged."""
        self._file.seek(at)
        return self._read_batch(), 0

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Each whole answer, and where it stands."""
        end = self._file.size()
        at = self._body
        while self._schema.names and at < end:
            self._file.seek(at)
            try:
                batch = self._read_batch()
            except EOFError:
                return  # the end marker
            except (pa.ArrowException, OSError):
                log.warning("%s: its last %d bytes are torn and left out", self._path, end - at)
                return
            after = self._file.tell()
            yield at, batch
            at = after

    def _read_batch(self) -> pa.RecordBatch:
        return pa.ipc.read_record_batch(pa.ipc.read_message(self._file), self._schema)

    def _read_schema(self) -> pa.Schema:
        """The segment's schema, or the empty one where a crash tore its head."""
        try:
            schema = pa.ipc.read_schema(self._file)
        except (pa.ArrowException, OSError, EOFError):
            if self._file.size() > HEAD_BYTES:
                raise OSError(f"the head of {self._path} is damaged") from None
            return pa.schema([])
        check_version(self._path, schema)
        try:
            wire.check_schema(pa.schema(list(schema)[len(ENTRY_FIELDS) :], schema.metadata))
        except wire.WireError as error:
            raise UserError(f"{self._path}: {error}") from None
        return schema


def check_version(path: Path, schema: pa.Schema) -> None:
    """Raise UserError when `schema` names another version of the record."""
    version = (schema.metadata or {}).get(b"record", b"none").decode(errors="replace")
    if version != VERSION:
        raise UserError(f"{path} is a record of version {version}, this reader knows {VERSION}; update the older side")


def _start(stem: Path) -> int:
    return int(stem.name.split("-")[1])
