"""Arguments compared: what spelling hides is equal, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quality.arguments import same_arguments

FUNCTION: dict[str, Any] = {
    "name": "look",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "day": {"type": "integer"},
            "deep": {"type": "boolean", "default": False},
            "page": {"type": "integer", "example_value": 1},
            "free": {},
        },
    },
}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ('{"city": "Oslo", "day": 1}', '{ "day":1,"city":"Oslo" }'),
        ('{"day": 1}', '{"day": 1.0}'),
        ('{"day": 10}', '{"day": 1e1}'),
        ('{"day": 1}', '{"day": " 1 "}'),
        ('{"city": "5"}', '{"city": 5}'),
        ('{"city": "New  York\\n"}', '{"city": "New York"}'),
        ('{"city": "Malmo\\u0308"}', '{"city": "Malm\\u00f6"}'),
        ('{"deep": "true"}', '{"deep": true}'),
        ("{}", '{"deep": false}'),
        ('{"free": [1, {"a": 2.0}]}', '{"free": [1.0, {"a": 2}]}'),
    ],
)
def test_equal(ours: str, theirs: str):
    assert same_arguments(ours, theirs, FUNCTION)
    assert same_arguments(theirs, ours, FUNCTION)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ('{"city": "Oslo"}', '{"city": "oslo"}'),
        ('{"city": "Oslo"}', '{"city": "Oslo."}'),
        ('{"city": "New York"}', '{"city": "NewYork"}'),
        ('{"day": 1}', '{"day": true}'),
        ('{"free": 1}', '{"free": true}'),
        ('{"free": 0}', '{"free": false}'),
        ('{"free": "5"}', '{"free": 5}'),
        ('{"free": null}', "{}"),
        ('{"free": []}', '{"free": {}}'),
        ('{"free": [1, 2]}', '{"free": [2, 1]}'),
        ('{"day": 100000000000000000000000000000001}', '{"day": 100000000000000000000000000000002}'),
        ("{}", '{"page": 1}'),
        ("{}", '{"deep": true}'),
        ('{"city": "Oslo"}', '{"city": "Oslo", "more": ""}'),
        ('{"day": NaN}', '{"day": NaN}'),
        ("no json", "no json"),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_different(ours: str, theirs: str):
    assert not same_arguments(ours, theirs, FUNCTION)
    assert not same_arguments(theirs, ours, FUNCTION)


def test_what_nests_too_deep_or_has_no_schema_is_compared_all_the_same():
    deep = '{"free": ' + "[" * 900 + "]" * 900 + "}"
    assert same_arguments(deep, deep, FUNCTION) in (True, False)
    assert same_arguments('{"a": 1}', '{"a": 1.0}', {})
    assert same_arguments('{"a": 1}', '{"a": 1.0}', {"parameters": {"properties": {"a": "integer"}}})
    assert not same_arguments('{"day": "1e999999999"}', '{"day": 1}', FUNCTION)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["city", "day", "deep", "free", "x"]), VALUES))
def test_an_object_equals_itself_written_otherwise(value: dict[str, Any]):
    turned = dict(reversed(value.items()))
    assert same_arguments(json.dumps(value), json.dumps(turned, indent=2, ensure_ascii=False), FUNCTION)
