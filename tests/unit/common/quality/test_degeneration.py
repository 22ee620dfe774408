"""What a completion looks like: one of each kind, and repetition by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quality.degeneration import Look, judge, repetition, summarize

OFFERED = [{"name": "forecast", "parameters": {"required": ["city"]}}]
GOOD = '\nThought: look\nAction: forecast\nAction Input: {"city": "Oslo"}'
LOOP = [7, 8] * 20


@pytest.mark.parametrize(
    ("text", "ids", "look"),
    [
        (GOOD, range(20), "valid"),
        (GOOD, LOOP, "valid"),
        (GOOD.replace("forecast", "rain"), range(20), "unknown_api"),
        (GOOD.replace("city", "town"), LOOP, "bad_arguments"),
        (GOOD.replace('{"city": "Oslo"}', "Oslo"), range(20), "bad_arguments"),
        (' [{"name": "forecast"}]', LOOP, "raw_json"),
        ('```json\n{"name": "forecast"}', range(20), "raw_json"),
        ("Thought: Thought: Thought:", LOOP, "repetition"),
        ("I would rather talk {}.", range(20), "no_step"),
        ("", [], "no_step"),
    ],
)
def test_each_kind(text: str, ids: list[int], look: Look):
    assert judge("x", text, list(ids), True, OFFERED).look == look


def test_repetition_by_hand():
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1, 2, 3]) == 0
    assert repetition([1] * 7) == pytest.approx(3 / 4)
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_said_twice_it_is_more_repetitive(ids: list[int]):
    assert 0 <= repetition(ids) < 1
    assert repetition(ids + ids) >= repetition(ids) or len(ids) < 4


def test_means_over_all():
    written = [judge("a", GOOD, range(10), True, OFFERED), judge("b", "{", [1] * 20, False, OFFERED)]
    figures = summarize(written)
    assert (figures["valid"], figures["raw_json"], figures["unknown_api"], figures["ended"]) == (0.5, 0.5, 0.0, 0.5)
    assert (figures["length"], figures["repetition"]) == (15, pytest.approx(16 / 17 / 2))
