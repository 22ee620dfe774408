"""Whether a teacher may teach: figures of what it wrote and scored on held-out rows, and what they must reach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.quality.calibration import calibration_error
from common.quality.completions import Functions, check_completion
from common.quality.overlap import overlap
from common.quality.settings import Thresholds
from common.wire import TeacherAnswer

FEWEST = 0.5
"""The least share of the rows that must have been answered: what a teacher is judged by is no accident then."""


@dataclass(frozen=True)
class Examined:
    """One held-out row, and what was answered about it."""

    id: str
    offered: Functions
    """The functions that its prompt offers."""
    written: str
    """The completion that the teacher wrote greedily, in ToolBench's form."""
    scored: TeacherAnswer | None
    """What it says about the recorded completion; None where there is none."""
    by_student: TeacherAnswer | None
    """What the student says about that one; None where it isn't served."""


@dataclass(frozen=True)
class Figures:
    """What a teacher came to. None stands for what could not be measured."""

    rows: int
    form: float | None = None
    known_api: float | None = None
    arguments: float | None = None
    perplexity: float | None = None
    calibration_error: float | None = None
    overlap: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    """Rows that could not be judged, by id, and why; `rows` doesn't count them."""


@dataclass(frozen=True)
class Criterion:
    """One figure beside its threshold."""

    figure: str
    got: float | None
    threshold: float
    at_least: bool
    """Whether the threshold is the least, not the most, that the figure may be."""

    @property
    def holds(self) -> bool:
        """What was not measured is not held against a teacher."""
        return self.got is None or (self.got >= self.threshold if self.at_least else self.got <= self.threshold)

    @property
    def bound(self) -> str:
        """The threshold in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.threshold:g}"

    def __str__(self) -> str:
        return f"{self.figure} {'not measured' if self.got is None else f'{self.got:.3f}'}, expected {self.bound}"


def figures_of(examined: Sequence[Examined], left_out: dict[str, str]) -> Figures:
    """Figures of all rows together; without any, only those that were left out."""
    if not examined:
        return Figures(0, left_out=left_out)
    reports = [check_completion(each.written, each.offered) for each in examined]
    scored = [each.scored for each in examined if each.scored is not None]
    pairs = [(each.scored, each.by_student) for each in examined if each.scored and each.by_student]
    return Figures(
        rows=len(examined),
        form=_share([report.parses for report in reports]),
        known_api=_share([report.names_offered_api for report in reports]),
        arguments=_share([report.required_present for report in reports]),
        perplexity=_perplexity(scored) if scored else None,
        calibration_error=calibration_error(scored) if scored else None,
        overlap=overlap(pairs) if pairs else None,
        left_out=left_out,
    )


def criteria(figures: Figures, thresholds: Thresholds) -> list[Criterion]:
    """Each figure beside its threshold, the share of rows that could be judged first."""
    asked = figures.rows + len(figures.left_out)
    judged = figures.rows / asked if asked else 0.0
    return [
        Criterion("judged", judged, FEWEST, True),
        Criterion("form", figures.form, thresholds.min_form, True),
        Criterion("known_api", figures.known_api, thresholds.min_known_api, True),
        Criterion("arguments", figures.arguments, thresholds.min_arguments, True),
        Criterion("perplexity", figures.perplexity, thresholds.max_perplexity, False),
        Criterion("calibration_error", figures.calibration_error, thresholds.max_calibration_error, False),
        Criterion("overlap", figures.overlap, thresholds.min_overlap, True),
    ]


def is_qualified(figures: Figures, thresholds: Thresholds) -> bool:
    """Whether all criteria hold."""
    return all(criterion.holds for criterion in criteria(figures, thresholds))


def _share(passed: Sequence[bool]) -> float:
    return sum(passed) / len(passed)


def _perplexity(scored: Sequence[TeacherAnswer]) -> float:
    """exp of the mean negative log-likelihood of all tokens."""
    total = -sum(float(answer.token_logprobs.sum(dtype="float64")) for answer in scored)
    return math.exp(total / sum(map(len, scored)))
