"""The line that a benchmark ends with, and what the table makes of it."""

import json

import pytest

from tests.benchmarks.__main__ import last_answer, table
from tests.benchmarks.report import finish


def test_the_line_comes_back_whole(capsys: pytest.CaptureFixture[str]):
    finish("wire", {"bytes_ratio": 12.5}, {"bytes_ratio": "at least 12"}, met=True)
    line = capsys.readouterr().out
    assert json.loads(line) == {
        "benchmark": "wire",
        "figures": {"bytes_ratio": 12.5},
        "targets": {"bytes_ratio": "at least 12"},
        "met": True,
    }
    assert last_answer(["some words\n", line]) == json.loads(line)


def test_a_figure_that_was_not_measured_cannot_pass_as_one():
    with pytest.raises(ValueError, match="not JSON compliant"):
        finish("wire", {"bytes_ratio": float("nan")}, {}, met=False)


@pytest.mark.parametrize("lines", [[], ["no json\n"], ["3\n"], ['{"figures": {}}\n', "a last word\n"]])
def test_other_endings_count_as_broken(lines: list[str]):
    assert last_answer(lines) is None


def test_a_broken_benchmark_has_its_row():
    answer = {"figures": {"a": 1.0, "b": 2.0}, "targets": {"a": "at most 2"}, "met": True}
    assert table({"whole": answer, "broken": None}).row_count == 3
