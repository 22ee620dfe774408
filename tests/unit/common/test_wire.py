"""The wire: round trips, and every kind of damaged stream ends in a WireError."""

import io
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common import wire
from common.wire import TeacherAnswer, WireError, decode, encode, failed

logprobs = st.floats(-100, 0, width=16) | st.just(float("-inf"))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def answers(draw: st.DrawFn, top_k: int, dtype: wire.LogprobDtype) -> TeacherAnswer:
    if draw(st.integers(0, 4)) == 0:
        return failed(draw(texts), "teacher", "r1", draw(texts), top_k, dtype)
    length = draw(st.integers(0, 5))
    ids = st.integers(0, 2**31 - 1)
    return TeacherAnswer(
        id=draw(texts),
        model=draw(texts),
        revision=draw(texts),
        finish_reason=draw(st.sampled_from(["stop", "length", "scored"])),
        error=None,
        token_ids=draw(npst.arrays(np.int32, length, elements=ids)),
        token_logprobs=draw(npst.arrays(np.float32, length, elements=logprobs)),
        topk_ids=draw(npst.arrays(np.int32, (length, top_k), elements=ids)),
        topk_logprobs=draw(npst.arrays(dtype, (length, top_k), elements=logprobs)),
        tail_logprob=draw(npst.arrays(np.float32, length, elements=logprobs)),
    )


@given(st.data(), st.integers(1, 4), st.sampled_from(["float16", "float32"]))
@settings(max_examples=60, deadline=None)
def test_round_trip(data: st.DataObject, top_k: int, dtype: wire.LogprobDtype):
    sent = data.draw(st.lists(answers(top_k, dtype), max_size=4))
    received = list(decode(encode(sent, top_k, dtype)))
    assert len(received) == len(sent)
    for got, expected in zip(received, sent, strict=True):
        assert_equal(got, expected)


def test_a_failed_record_says_why_and_has_no_positions():
    [got] = decode(encode([failed("a", "m", "r", "too long", 3, "float32")], 3, "float32"))
    assert (got.error, got.finish_reason, len(got), got.top_k) == ("too long", None, 0, 3)


def test_bytes_do_not_change_unnoticed():
    stream_schema = wire.schema(2, "float16")
    assert [(field.name, str(field.type)) for field in stream_schema][6:] == [
        ("token_ids", "list<item: int32>"),
        ("token_logprobs", "list<item: float>"),
        ("topk_ids", "list<item: fixed_size_list<item: int32>[2]>"),
        ("topk_logprobs", "list<item: fixed_size_list<item: halffloat>[2]>"),
        ("tail_logprob", "list<item: float>"),
    ]


def test_a_stream_cut_anywhere_is_refused():
    data = encode([sample(3), sample(0)], 2)
    assert len(list(decode(data))) == 2
    for length in range(len(data)):
        with pytest.raises(WireError):
            list(decode(data[:length]))


def test_bytes_and_a_file_of_them_give_the_same():
    data = encode([sample(3), sample(0)], 2)
    for got, expected in zip(decode(data), decode(io.BytesIO(data)), strict=True):
        assert_equal(got, expected)
    with pytest.raises(WireError, match="cut off"):
        list(decode(io.BytesIO(data[:-8])))


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_flipped_bits_raise_nothing_but_a_wire_error(data: st.DataObject):
    damaged = bytearray(encode([sample(3), failed("x", "m", "r", "no", 2, "float16")], 2))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        list(decode(bytes(damaged)))
    except WireError:
        return


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_foreign_bytes_raise_a_wire_error(data: bytes):
    with pytest.raises(WireError):
        list(decode(data))


def test_a_newer_version_is_refused_by_name():
    newer = wire.schema(2, "float16").with_metadata({"schema_version": "2"})
    with pytest.raises(WireError, match="got schema version 2, this reader knows 1"):
        list(decode(empty_stream(newer)))


def test_other_columns_are_refused_by_name():
    with pytest.raises(WireError, match=r"got columns \['id'\], expected"):
        list(decode(empty_stream(pa.schema([("id", pa.string())], {"schema_version": "1"}))))


def test_columns_of_different_length_are_refused():
    values = {field.name: getattr(sample(3), field.name) for field in fields(TeacherAnswer)}
    lopsided = TeacherAnswer(**values | {"tail_logprob": np.zeros(2, np.float32)})
    with pytest.raises(WireError, match="sequence s: 3 tokens"):
        list(decode(encode([lopsided], 2)))


def test_answers_arrive_before_the_stream_ends():
    data = encode([sample(3), sample(2)], 2)
    stream = decode(data[:-8])
    assert len(next(stream)) == 3
    assert len(next(stream)) == 2
    with pytest.raises(WireError, match="cut off"):
        next(stream)


def test_an_empty_entry_within_a_position_is_refused():
    batch = wire.to_batch(sample(2), wire.schema(2, "float16"))
    at = batch.schema.get_field_index("topk_ids")
    holes = pa.array([[[1, None], [1, 2]]], batch.schema.field(at).type)
    with pytest.raises(WireError, match="an empty cell"):
        list(wire.from_batch(batch.set_column(at, batch.schema.field(at), holes)))


def sample(length: int) -> TeacherAnswer:
    ones = -np.ones(length, np.float32)
    ids = np.arange(length, dtype=np.int32)
    topk = np.tile(np.array([1, 2], np.int32), (length, 1))
    return TeacherAnswer("s", "m", "r", "scored", None, ids, ones, topk, -np.ones((length, 2), np.float16), ones)


def empty_stream(stream_schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, stream_schema).close()
    return bytes(sink.getvalue())


def assert_equal(got: TeacherAnswer, expected: TeacherAnswer) -> None:
    for field in fields(TeacherAnswer):
        ours: Any = getattr(got, field.name)
        theirs: Any = getattr(expected, field.name)
        if isinstance(theirs, np.ndarray):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), field.name
            assert np.array_equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name
