"""The verdict on a teacher: each figure by hand, each criterion failed by itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from common.quality.qualification import Examined, Figures, criteria, figures_of, is_qualified
from common.quality.settings import Thresholds
from tests.unit.common.quality.answers import answer_of

OFFERED = [{"name": "forecast", "parameters": {"required": ["city"]}}]
GOOD = '\nThought: look\nAction: forecast\nAction Input: {"city": "Oslo"}'
WRITTEN = {
    "good": GOOD,
    "other_api": GOOD.replace("forecast", "rain"),
    "no_city": GOOD.replace("city", "town"),
    "raw_json": '{"name": "forecast", "arguments": {"city": "Oslo"}}',
}
EXPERT = Figures(20, form=1.0, known_api=1.0, arguments=1.0, perplexity=1.1, calibration_error=0.01, overlap=0.9)
SCORED = answer_of(np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]]), [0, 0], k=2)


def examined(name: str, **answers: object) -> Examined:
    return replace(Examined(name, OFFERED, WRITTEN[name], None, None), **answers)


def test_figures_by_hand():
    figures = figures_of([examined(name, scored=SCORED) for name in WRITTEN], {"long": "too long"})
    assert (figures.rows, figures.form, figures.known_api, figures.arguments) == (4, 0.75, 0.5, 0.25)
    assert figures.perplexity == pytest.approx(math.exp((math.log(2) + math.log(4)) / 2))
    assert (figures.overlap, figures.left_out) == (None, {"long": "too long"})


def test_the_overlap_needs_both_sides():
    figures = figures_of([examined("good", scored=SCORED, by_student=SCORED), examined("good")], {})
    assert figures.overlap == pytest.approx((1.0 + 0.75) / 2)


def test_rows_without_a_recorded_completion_are_judged_by_what_is_written():
    figures = figures_of([examined("good")] * 3, {})
    assert (figures.arguments, figures.perplexity, figures.calibration_error) == (1.0, None, None)
    assert is_qualified(figures, Thresholds())


@pytest.mark.parametrize(
    ("figure", "bad"),
    [("form", 0), ("known_api", 0), ("arguments", 0), ("perplexity", 9), ("calibration_error", 0.9), ("overlap", 0)],
)
def test_each_criterion_refuses_by_itself(figure: str, bad: float):
    assert is_qualified(EXPERT, Thresholds())
    figures = replace(EXPERT, **{figure: bad})
    assert not is_qualified(figures, Thresholds())
    (failed,) = [criterion for criterion in criteria(figures, Thresholds()) if not criterion.holds]
    assert failed.figure == figure
    assert str(failed).startswith(f"{figure} {bad:.3f}, expected at ")


def test_a_figure_at_its_threshold_is_good_enough():
    exact = Thresholds(min_form=1, min_known_api=1, min_arguments=1, max_perplexity=1.1, max_calibration_error=0.01)
    assert is_qualified(EXPERT, exact)


def test_few_answers_qualify_nobody():
    unanswered = {str(number): "no answer" for number in range(21)}
    assert not is_qualified(replace(EXPERT, left_out=unanswered), Thresholds())
    assert not is_qualified(figures_of([], {}), Thresholds())
