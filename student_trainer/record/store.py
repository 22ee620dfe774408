"""The record: every answer that the teacher gave, appended as it arrives, and found again by its place in the order.

Answers are appended to segments (`segments.py`), which are rotated at a size and compacted in the background
(`compaction.py`). Where starts overlap, the later one counts.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa

from common import wire
from common.api import DistillRequest
from common.errors import UserError
from common.teacher_client.failures import FailureKind
from student_trainer.data.plan import Key
from student_trainer.record.compaction import Compacted, compact
from student_trainer.record.segments import (
    COMPACTED,
    ENTRY_FIELDS,
    SEGMENT,
    Segment,
    SegmentWriter,
    record_schema,
    stems,
)

SEGMENT_BYTES = 64 * 2**20
"""Size at which a segment is closed and compacted."""
PARTS_OPEN = 32
"""Files that a reader holds open; each keeps its last row groups."""
PART_BITS = 44
"""A place is the number of its part above so many bits, and what that part reads the answer by."""

log = logging.getLogger(__name__)


class RecordedAnswer(NamedTuple):
    """An answer as it was recorded: with `failure`, why there is none, and then `answer.error` is the reason."""

    answer: wire.TeacherAnswer
    failure: FailureKind | None = None


def digest(request: DistillRequest) -> str:
    """SHA-256 of all that was asked: tokens, model, k, sampling and its seed."""
    return sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()


class RecordWriter:
    """Appends to segments of its own in `folder`, which is made with the first answer.

    Closed segments are compacted in a thread; rank 0 also compacts what earlier starts left. Segments whose writers
    live are under their locks, and nobody touches them.
    """

    def __init__(self, folder: Path, rank: int, top_k: int, dtype: wire.LogprobDtype) -> None:
        self._folder, self._rank = folder, rank
        self._wire_schema = wire.schema(top_k, dtype)
        self._schema = record_schema(self._wire_schema)
        self._segment: SegmentWriter | None = None
        self._start: int | None = None
        self._parts = 0
        self._failed_before = False
        self._background = ThreadPoolExecutor(1, "record", _step_back)
        if rank == 0:
            for stem in stems(folder):
                if (segment := stem.with_suffix(SEGMENT)).exists():
                    self._background.submit(self._compact, segment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(compact=error is None)

    def append(
        self, key: Key, request: DistillRequest, answer: wire.TeacherAnswer, failure: FailureKind | None = None
    ) -> None:
        """Append `answer`, or why there is none, and hand it to the operating system.

        Raises UserError when it can't be written.
        """
        values = [key.epoch, key.index, digest(request), failure]
        columns = [pa.array([value], field.type) for value, field in zip(values, ENTRY_FIELDS, strict=True)]
        columns += wire.to_batch(answer, self._wire_schema).columns
        try:
            self._segment = self._segment or self._open()
            size = self._segment.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        except OSError as error:
            self._end_segment()  # nobody could read what follows torn bytes: the next answer opens another segment
            raise UserError(f"can't append to the record in {self._folder}: {error}; free space or move it") from None
        if size >= SEGMENT_BYTES:
            self._end_segment()

    def close(self, compact: bool = True) -> None:
        """End the last segment and wait until all are compacted; without `compact` they are left to the next start.

        Nothing depends on it.
        """
        self._end_segment(compact)
        self._background.shutdown(cancel_futures=not compact)

    def _open(self) -> SegmentWriter:
        self._parts += 1
        segment = SegmentWriter(self._folder, self._rank, self._start, self._parts, self._schema)
        self._start = segment.start
        return segment

    def _end_segment(self, compact: bool = True) -> None:
        if self._segment is None:
            return
        self._segment.close()
        if compact:
            self._background.submit(self._compact, self._segment.path)
        self._segment = None

    def _compact(self, segment: Path) -> None:
        """Compact, or keep the segment and say once why not: it reads as well."""
        try:
            compact(segment)
        except (OSError, pa.ArrowException, UserError) as error:
            log.log(logging.INFO if self._failed_before else logging.WARNING, "%s is kept as it is: %s", segment, error)
            self._failed_before = True


class RecordReader:
    """Finds recorded answers; holds places in memory, never answers.

    `revision` is the live teacher's. Where a place has answers of several revisions, one of `revision` counts first,
    else that of the latest start. With `only_same` an answer counts as missing, so that it is asked for again,

    - if it is to another request, or of another revision than `revision`;
    - if it failed;
    - if a later start recorded an answer of another revision at its place.

    Raises UserError when a part was written by another version.
    """

    def __init__(self, folders: Iterable[Path], revision: str | None = None, only_same: bool = False) -> None:
        self._revision, self._only_same = revision, only_same
        self._stems = [stem for folder in folders for stem in stems(folder)]
        self._index: dict[str, dict[Key, int]] = {}  # revision → key → place
        self._kinds: dict[int, type[Segment | Compacted]] = {}  # what places of a part mean
        self._part = lru_cache(PARTS_OPEN)(self._open)
        for number in range(len(self._stems)):
            self._add(number)

    def __len__(self) -> int:
        """Places, counted for each revision."""
        return sum(map(len, self._index.values()))

    def find(self, key: Key, request: DistillRequest) -> RecordedAnswer | None:
        """The recorded answer to `request`, or None, as for one that is damaged.

        Raises UserError when another request was recorded for `key`, unless that counts as missing.
        """
        batch = self._read(key)
        if batch is None:
            return None
        if batch.column("request")[0].as_py() == digest(request):
            (answer,) = wire.from_batch(batch.select(batch.schema.names[len(ENTRY_FIELDS) :]))
            failure = batch.column("failure")[0].as_py()
            return None if self._only_same and failure is not None else RecordedAnswer(answer, failure)
        if self._only_same:
            return None
        raise UserError(
            f"the record holds the answer to another request at epoch {key.epoch}, index {key.index}; replay "
            "it with the data, model, seeds, sampling and top_k that it was made with, or set teacher.source: live"
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every answer that can be found, one per batch, in the order of the parts."""
        for place in sorted(place for places in self._index.values() for place in places.values()):
            yield self._row(place)

    def close(self) -> None:
        """Close the files."""
        self._part.cache_clear()

    def _read(self, key: Key) -> pa.RecordBatch | None:
        failure: Exception | None = None
        for _ in range(2):
            if (place := self._place(key)) is None:
                return None
            try:
                return self._row(place)
            except (OSError, pa.ArrowException) as error:
                failure = error
                self._part.cache_clear()
                self._add(place >> PART_BITS)
        log.warning("left out of the record, as if missing: epoch %d, index %d: %s", key.epoch, key.index, failure)
        return None

    def _place(self, key: Key) -> int | None:
        places = {revision: index[key] for revision, index in self._index.items() if key in index}
        latest = max(places.values(), default=None)
        own = places.get(self._revision) if self._revision is not None else None
        if self._only_same:
            return own if own == latest else None
        return latest if own is None else own

    def _row(self, place: int) -> pa.RecordBatch:
        number, at = place >> PART_BITS, place & (1 << PART_BITS) - 1
        part = self._part(number)
        if type(part) is not self._kinds[number]:
            raise OSError(f"{self._stems[number]} was compacted meanwhile")
        batch, row = part.read(at)
        return batch.slice(row, 1)

    def _add(self, number: int) -> None:
        """Take the places of a part into the index, over those of earlier ones."""
        try:
            part = self._part(number)
            self._kinds[number] = type(part)
            for place in part.places():
                index = self._index.setdefault(place.revision, {})
                if index.get(place.key, 0) >> PART_BITS <= number:
                    index[place.key] = number << PART_BITS | place.at
        except (OSError, pa.ArrowException) as error:
            log.warning("%s is damaged and left out: %s", self._stems[number], error)

    def _open(self, number: int) -> Segment | Compacted:
        stem = self._stems[number]
        for kind, suffix in ((Compacted, COMPACTED), (Segment, SEGMENT)):
            with suppress(FileNotFoundError):
                return kind(stem.with_suffix(suffix))
        return Compacted(stem.with_suffix(COMPACTED))  # made, and the segment removed, while we looked


def _step_back() -> None:
    """Let the event loop and the computation go first."""
    if sys.platform == "linux":  # elsewhere niceness is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
