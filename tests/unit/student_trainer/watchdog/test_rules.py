"""Rules of a collapse: by hand, one figure at a time."""

from typing import Any

import pytest

from student_trainer.watchdog.rules import Figures, broken_rules, format_score

WELL: dict[str, float] = {"valid": 0.9, "ended": 1.0, "repetition": 0.1, "raw_json": 0.0, "unknown_api": 0.0}


def figures(**changes: Any) -> Figures:
    return WELL | changes


def names(seen: list[Figures], now: Figures) -> list[str]:
    return [rule.figure for rule in broken_rules(seen, now)]


@pytest.mark.parametrize(
    ("now", "broken"),
    [
        ({}, []),
        ({"valid": 0.5}, []),  # a fall, but not below the floor
        ({"valid": 0.4}, ["valid"]),
        ({"ended": 0.4}, ["ended"]),
        ({"repetition": 0.6}, ["repetition"]),
        ({"valid": 0.0, "raw_json": 1.0}, ["valid", "raw_json"]),
        ({"valid": 0.2, "unknown_api": 0.7}, ["valid", "unknown_api"]),
    ],
)
def test_each_figure_may_not_fall_from_its_best(now: dict[str, float], broken: list[str]):
    assert names([figures(), figures(valid=0.6)], figures(**now)) == broken


def test_before_the_format_is_known_nothing_is_a_collapse():
    unlearnt = figures(valid=0.4, unknown_api=0.0)
    assert names([], figures(valid=0.0, raw_json=1.0)) == []
    assert names([unlearnt], figures(valid=0.0, unknown_api=1.0, repetition=0.9)) == []


def test_a_small_fall_below_the_floor_is_none():
    assert names([figures(valid=0.6)], figures(valid=0.3)) == []
    assert names([figures(valid=0.6)], figures(valid=0.1)) == ["valid"]


def test_what_was_never_good_may_stay_bad():
    long_winded = figures(ended=0.3)
    assert names([long_winded], long_winded) == []


def test_the_score_is_that_of_the_worst_figure():
    assert format_score(figures()) == 0.9
    assert format_score(figures(repetition=0.3)) == pytest.approx(0.7)
    assert format_score(figures(unknown_api=0.25, valid=0.75)) == 0.75
