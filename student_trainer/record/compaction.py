"""Compaction: a closed segment becomes a Parquet file of the same name, at less than half its size, without loss.

Written aside, made durable, renamed, and only then is the segment removed: whatever a crash interrupts, the next start
does again. Rows are sorted by key, in small groups, so that a replay reads each once.

What is stored was chosen by measuring (`tests/benchmarks/record_size.py`): bytes of like weight side by side
(BYTE_STREAM_SPLIT), and of the logprobs of a position, which fall, the small differences of their
bit patterns.

Legend: N = positions of a row group, k = entries per position.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from common import wire
from common.errors import UserError
from common.files import file_in_place
from student_trainer.data.plan import Key
from student_trainer.record.segments import COMPACTED, KEY, Place, Segment, check_version, held, record_schema

GROUP_BYTES = 2**20
"""Raw bytes of a row group: what is read for a single answer."""
GROUPS_IN_MEMORY = 2
"""Row groups kept decoded per open file: answers overtook each other on the way, so neighbours alternate."""
ROW_BITS = 24
"""An answer's place is its row group above so many bits, and its row there."""
ZSTD_LEVEL = 1
SPLIT_COLUMNS = ("token_ids", "token_logprobs", "topk_ids", "topk_logprobs", "tail_logprob")
REPEATED_COLUMNS = ["schema_version", "model", "revision", "finish_reason", "error", "epoch", "failure"]


def compact(segment: Path) -> bool:
    """Turn `segment` into Parquet; False where its writer lives or someone else is at it.

    Raises OSError, a full disk say, and UserError for another version; the segment is then still there.
    """
    with held(segment) as ours:
        if not ours:
            return False
        done = segment.with_suffix(COMPACTED)
        if not done.exists() and (answers := [batch for _, batch in Segment(segment).batches()]):
            with file_in_place(done) as draft:
                _write(draft, answers)
        segment.unlink()
        return True


class Compacted:
    """A compacted segment, open for reading.

    Raises OSError or ArrowException when it can't be read, UserError when it was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path, page_checksum_verification=True)
        check_version(path, self._file.schema_arrow)
        if (got := self._file.schema_arrow.metadata[b"schema_version"].decode()) != str(wire.SCHEMA_VERSION):
            raise UserError(f"{path}: got schema version {got}, this reader knows {wire.SCHEMA_VERSION}; update it")
        self._group = lru_cache(GROUPS_IN_MEMORY)(self._read_group)

    def places(self) -> Iterator[Place]:
        """Places of the answers, in the order of their keys."""
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, [*KEY, "revision"], use_threads=False)
            for row, (*key, revision) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
                yield Place(Key(*key), revision, group << ROW_BITS | row)

    def read(self, at: int) -> tuple[pa.RecordBatch, int]:
        """The batch that holds the answer at `at`, and its row there; ArrowException or OSError when it is damaged."""
        return self._group(at >> ROW_BITS), at & (1 << ROW_BITS) - 1

    def _read_group(self, group: int) -> pa.RecordBatch:
        return _unpacked(self._file.read_row_group(group, use_threads=False).combine_chunks().to_batches()[0])


def _write(draft: Path, answers: list[pa.RecordBatch]) -> None:
    """Write `answers`, one per batch, in the order of their keys."""
    schema = _packed(answers[0]).schema
    with pq.ParquetWriter(
        draft,
        schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=REPEATED_COLUMNS,
        column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in SPLIT_COLUMNS},
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for group in _groups(answers):
            writer.write_batch(_packed(pa.concat_batches(group)))


def _groups(answers: list[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    size = 0
    for answer in sorted(answers, key=_key):  # stable: of answers to one key the later stays the later
        group.append(answer)
        size += answer.nbytes
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _key(answer: pa.RecordBatch) -> tuple[int, ...]:
    return tuple(answer.column(name)[0].as_py() for name in KEY)


def _packed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """As it is stored: what is [N, k] flat, logprobs as differences of their bits."""
    k, logprobs = _width_and_type(batch.schema)
    columns = {field.name: batch.column(i) for i, field in enumerate(batch.schema)}
    bits = np.uint16 if logprobs == pa.float16() else np.uint32
    values = _values(columns["topk_logprobs"]).to_numpy(zero_copy_only=False).view(bits).reshape(-1, k)
    steps = values.copy()
    steps[:, 1:] -= values[:, :-1]  # modulo 2**16 or 2**32: exact whatever the bits
    columns["topk_logprobs"] = _lists(columns["topk_logprobs"], pa.array(steps.reshape(-1)), k)
    columns["topk_ids"] = _lists(columns["topk_ids"], _values(columns["topk_ids"]), k)
    metadata = {**batch.schema.metadata, "top_k": str(k), "logprob_dtype": str(np.dtype(logprobs.to_pandas_dtype()))}
    fields = [pa.field(field.name, columns[field.name].type, field.nullable) for field in batch.schema]
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(fields, metadata))


def _unpacked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The inverse of `_packed`, to the bit."""
    k, dtype = int(batch.schema.metadata[b"top_k"]), batch.schema.metadata[b"logprob_dtype"].decode()
    wire_schema = wire.schema(k, "float16" if dtype == "float16" else "float32")
    columns = {field.name: batch.column(i) for i, field in enumerate(batch.schema)}
    steps = columns["topk_logprobs"].flatten().to_numpy().reshape(-1, k)
    bits = np.add.accumulate(steps, axis=1, dtype=steps.dtype)
    logprobs = pa.array(bits.reshape(-1).view(dtype))
    for name, flat in (("topk_ids", columns["topk_ids"].flatten()), ("topk_logprobs", logprobs)):
        kind = wire_schema.field(name).type
        offsets = pa.array(_offsets(columns[name]) // k, pa.int32())
        rows = pa.FixedSizeListArray.from_arrays(flat, type=kind.value_type)
        columns[name] = pa.ListArray.from_arrays(offsets, rows, type=kind)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=record_schema(wire_schema))


def _width_and_type(schema: pa.Schema) -> tuple[int, pa.DataType]:
    rows = schema.field("topk_logprobs").type.value_type
    return rows.list_size, rows.value_type


def _values(column: pa.ListArray) -> pa.Array:
    """All entries of a column of matrices, flat."""
    return column.flatten().flatten()


def _lists(column: pa.ListArray, flat: pa.Array, k: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(_offsets(column) * k, pa.int32()), flat)


def _offsets(column: pa.ListArray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Where rows begin in the flattened column."""
    offsets = column.offsets.to_numpy()
    return offsets - offsets[0]
