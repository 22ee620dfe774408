"""The control of the live run: the same record, each completion with the distributions of another.

A student that learns from it sees real completions and real distributions which don't belong together. If it did as
well, alignment would not matter, and the run would prove nothing.

Legend: T = positions of a completion, k = entries per position.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from common.errors import UserError
from student_trainer.record.segments import segment_name
from student_trainer.record.store import RecordReader

DISTRIBUTION = ("topk_ids", "topk_logprobs", "tail_logprob")


def permute_record(record: Path, out: Path) -> int:
    """Copy `record` to `out` so that every training answer has the distributions of the next one; return how many.

    Answers outside the stream (the held-out slice, epoch -1) and failures are copied as they are. Raises UserError when
    there aren't two answers to permute.
    """
    reader = RecordReader([record])
    batches = list(reader.batches())
    reader.close()
    trained = [index for index, batch in enumerate(batches) if _has_distribution(batch)]
    if len(trained) < 2:
        raise UserError(f"the record {record} holds {len(trained)} answers, expected at least 2 to permute")
    donors = dict(zip(trained, trained[1:] + trained[:1], strict=True))
    out.mkdir(parents=True)
    with pa.ipc.new_stream(out / segment_name(start=1), batches[0].schema) as writer:
        for index, batch in enumerate(batches):
            writer.write_batch(_with_distribution(batch, batches[donors[index]]) if index in donors else batch)
    return len(trained)


def _has_distribution(batch: pa.RecordBatch) -> bool:
    return bool(batch.column("epoch")[0].as_py() >= 0 and len(batch.column("token_ids")[0]))


def _with_distribution(batch: pa.RecordBatch, donor: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with the donor's distributions, repeated or cut to its own T positions."""
    positions = len(batch.column("token_ids")[0])
    columns = [
        _fitted(donor.column(field.name), positions) if field.name in DISTRIBUTION else batch.column(field.name)
        for field in batch.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _fitted(column: pa.ListArray, positions: int) -> Any:
    rows = column.flatten()
    rows = rows.take(pa.array(np.arange(positions) % len(rows)))
    return pa.ListArray.from_arrays(pa.array([0, positions], pa.int32()), rows, type=column.type)
