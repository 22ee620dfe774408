"""What a completion looks like: one of each kind, and means over several."""

import pytest

from common.quality.looks import Look, look_at, summarize

OFFERED = [{"name": "forecast", "parameters": {"required": ["city"]}}]
GOOD = '\nThought: look\nAction: forecast\nAction Input: {"city": "Oslo"}'
LOOP = "so on and " * 20


@pytest.mark.parametrize(
    ("text", "look"),
    [
        (GOOD, "valid"),
        (GOOD.replace("look", LOOP), "valid"),
        (GOOD.replace("forecast", "rain"), "unknown_api"),
        (GOOD.replace("city", "town"), "bad_arguments"),
        (GOOD.replace('{"city": "Oslo"}', LOOP), "bad_arguments"),
        (' [{"name": "forecast"}]', "raw_json"),
        ('```json\n{"name": "forecast", "text": "' + LOOP, "raw_json"),
        ("Thought: Thought: Thought: " * 3, "repetition"),
        (LOOP, "repetition"),
        ("I would rather talk {}.", "no_step"),
        ("", "no_step"),
    ],
)
def test_each_kind(text: str, look: Look):
    assert look_at("x", text, 9, True, OFFERED).look == look


def test_means_over_all():
    written = [look_at("a", GOOD, 10, True, OFFERED), look_at("b", '{"a": 1', 20, False, OFFERED)]
    figures = summarize(written)
    assert (figures["valid"], figures["raw_json"], figures["unknown_api"], figures["ended"]) == (0.5, 0.5, 0.0, 0.5)
    assert (figures["length"], figures["repetition"]) == (15, 0.0)
