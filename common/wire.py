"""The wire: what a teacher says about one completion, and its Arrow IPC form. One struct, one codec.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
Position t describes P(x_t | x_<t), the distribution from which `token_ids[t]` came: aligned with the targets, nobody
downstream shifts. A stream holds one record batch per sequence; k and the logprobs' type are fixed per stream and stand
in its schema.

A field that is added or changed here is followed by `common/teacher_client/verify.py` (what it may never say) and by
`student_trainer/record/` (how it is stored: `compaction.py` names the columns).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SCHEMA_VERSION = 1
MASS_TOLERANCE = 2e-3
"""How far above 1 the mass of a position may stand: rounding to float16 moves it by up to 4e-4."""

END_MARKER = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What Arrow closes a stream with."""

LogprobDtype = Literal["float16", "float32"]


class WireError(Exception):
    """A stream that isn't a whole stream of this version's records: malformed, truncated, or newer than this reader."""


@dataclass(frozen=True)
class TeacherAnswer:
    """What `model` (at `revision`) says about one completion; or, with `error` set, why this sequence failed (T = 0).

    Logprobs are natural logarithms over the full vocabulary at temperature 1.
    """

    id: str
    model: str
    revision: str
    finish_reason: str | None  # "stop", "length" or "scored"
    error: str | None
    token_ids: NDArray[np.int32]  # [T]
    token_logprobs: NDArray[np.float32]  # [T]
    topk_ids: NDArray[np.int32]  # [T, k], most likely first, no duplicates
    topk_logprobs: NDArray[Any]  # [T, k], float16 or float32
    tail_logprob: NDArray[np.float32]  # [T], log of the mass outside k, before rounding; -inf at k = V
    schema_version: int = SCHEMA_VERSION

    @property
    def top_k(self) -> int:
        return int(self.topk_ids.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays: what the wire carries, its framing apart."""
        arrays = (self.token_ids, self.token_logprobs, self.topk_ids, self.topk_logprobs, self.tail_logprob)
        return sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return len(self.token_ids)


def failed(id: str, model: str, revision: str, error: str, top_k: int, dtype: LogprobDtype) -> TeacherAnswer:
    """The record of a sequence that could not be answered."""
    empty = np.zeros(0, np.float32)
    return TeacherAnswer(
        id, model, revision, None, error, np.zeros(0, np.int32), empty, np.zeros((0, top_k), np.int32),
        np.zeros((0, top_k), dtype), empty,
    )  # fmt: skip


@lru_cache(maxsize=16)
def schema(top_k: int, dtype: LogprobDtype) -> pa.Schema:
    """Arrow schema of a stream with `top_k` entries per position."""
    logprob = pa.float16() if dtype == "float16" else pa.float32()
    return pa.schema(
        [
            pa.field("schema_version", pa.int32(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("revision", pa.string(), nullable=False),
            pa.field("finish_reason", pa.string()),
            pa.field("error", pa.string()),
            pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
            pa.field("token_logprobs", pa.list_(pa.float32()), nullable=False),
            pa.field("topk_ids", pa.list_(pa.list_(pa.int32(), top_k)), nullable=False),
            pa.field("topk_logprobs", pa.list_(pa.list_(logprob, top_k)), nullable=False),
            pa.field("tail_logprob", pa.list_(pa.float32()), nullable=False),
        ],
        metadata={"schema_version": str(SCHEMA_VERSION)},
    )


def to_batch(answer: TeacherAnswer, stream_schema: pa.Schema) -> pa.RecordBatch:
    """One answer as a record batch of one row; the arrays are not copied."""
    columns = [
        _list_of_one(getattr(answer, field.name), field.type)
        if pa.types.is_list(field.type)
        else pa.array([getattr(answer, field.name)], field.type)
        for field in stream_schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=stream_schema)


def from_batch(batch: pa.RecordBatch) -> Iterator[TeacherAnswer]:
    """The answers of a record batch.

    Raises WireError when their arrays disagree in length.
    """
    for row in range(batch.num_rows):
        values = {field.name: _read_cell(batch.column(i), row) for i, field in enumerate(batch.schema)}
        answer = TeacherAnswer(**values)
        arrays = (answer.token_logprobs, answer.topk_ids, answer.topk_logprobs, answer.tail_logprob)
        lengths = {len(array) for array in arrays}
        if lengths != {len(answer)}:
            raise WireError(f"sequence {answer.id}: {len(answer)} tokens but columns of lengths {sorted(lengths)}")
        yield answer


def encode(answers: Iterable[TeacherAnswer], top_k: int, dtype: LogprobDtype = "float16") -> bytes:
    """A whole stream in memory: schema, one batch per answer, end marker."""
    sink = pa.BufferOutputStream()
    stream_schema = schema(top_k, dtype)
    with pa.ipc.new_stream(sink, stream_schema) as writer:
        for answer in answers:
            writer.write_batch(to_batch(answer, stream_schema))
    return bytes(sink.getvalue())


def decode(data: Any) -> Iterator[TeacherAnswer]:
    """Read the answers of a stream from bytes or a file-like object, each as soon as its bytes are there.

    Their arrays are views into what was read, not to be written to. Raises WireError when the stream is malformed, ends
    before its end marker, or has another schema version.
    """
    source = _MarkedBytes(data) if isinstance(data, bytes) else _MarkedEnd(data)
    try:
        reader = pa.ipc.open_stream(source.file)
        check_schema(reader.schema)
        for batch in reader:
            batch.validate(full=True)
            yield from from_batch(batch)
    except (pa.ArrowException, MemoryError, OSError, ValueError) as error:
        raise WireError(f"not a readable answer stream: {error}") from None
    if not source.saw_end_marker:
        raise WireError("the answer stream ends before its end marker; it was cut off in transit")


def check_schema(stream_schema: pa.Schema) -> None:
    """Refuse a stream whose version this reader doesn't know, or whose columns differ from that version's.

    Raises WireError saying what was got and expected.
    """
    got = (stream_schema.metadata or {}).get(b"schema_version", b"none").decode(errors="replace")
    if got != str(SCHEMA_VERSION):
        raise WireError(f"got schema version {got}, this reader knows {SCHEMA_VERSION}; update the older side")
    topk = stream_schema.field("topk_ids").type if "topk_ids" in stream_schema.names else None
    width = topk.value_type.list_size if topk is not None and _is_matrix(topk) else 0
    if not any(stream_schema.equals(schema(width, dtype)) for dtype in ("float16", "float32")):
        raise WireError(f"got columns {stream_schema.names}, expected those of schema version {SCHEMA_VERSION}")


def _is_matrix(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type)


def _list_of_one(values: NDArray[Any], kind: pa.ListType) -> pa.ListArray:
    if pa.types.is_fixed_size_list(kind.value_type):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type.value_type)
        items = pa.FixedSizeListArray.from_arrays(flat, type=kind.value_type)
    else:
        items = pa.array(values, kind.value_type)
    return pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items, type=kind)


def _read_cell(column: pa.Array, row: int) -> Any:
    """One cell of a validated column; an array is a view into the batch."""
    if not pa.types.is_list(column.type):
        return column[row].as_py()
    start, end = column.offsets.slice(row, 2).to_numpy().tolist()
    items = column.values.slice(start, end - start)
    matrix = pa.types.is_fixed_size_list(items.type)
    values = items.flatten() if matrix else items  # leaves out what stands in rows that are null themselves
    if column.null_count or items.null_count or values.null_count:
        raise WireError("got an empty cell where an array was expected")
    array = values.to_numpy(zero_copy_only=False)
    return array.reshape(len(items), items.type.list_size) if matrix else array


class _MarkedBytes:
    """Bytes as a file of Arrow's own, so that arrays are views into them; knows whether the end marker was read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.file = pa.BufferReader(data)

    @property
    def saw_end_marker(self) -> bool:
        read = self.file.tell()
        return self._data[max(0, read - len(END_MARKER)) : read] == END_MARKER


class _MarkedEnd:
    """A readable that remembers whether the stream's last eight bytes were Arrow's end marker."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._last = b""
        self.closed = False
        self.file = pa.PythonFile(self, mode="r")

    @property
    def saw_end_marker(self) -> bool:
        return self._last == END_MARKER

    def read(self, size: int = -1) -> bytes:
        data = bytes(self._source.read(size))
        self._last = (self._last + data[-8:])[-8:]
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
