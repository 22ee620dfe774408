"""The arms of the experiment: what each student learns from. All else of theirs is the same.

*The distribution* is D against B, and C against A; *more of the teacher's data* is B against A.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

EXPERT, GENERALIST = "expert", "base"
"""Names by which the teacher's application serves the fine-tuned model, and its base without fine-tuning."""


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    title: str
    teacher: str | None = None
    """Who is asked, by its served name; None: recorded traces alone."""
    writer: Literal["dataset", "teacher"] = "dataset"
    """Who writes the completions."""
    replays: str | None = None
    """The arm whose teacher's answers are taken from its record: no teacher is asked again."""

    def overrides(self) -> Mapping[str, Any]:
        """Settings of `student_trainer train`, by dotted names, in which the arm differs from the shared YAML."""
        if self.teacher is None:
            return {"mode": "sft", "teacher": None, "completion.writer": {"dataset": 1.0}}
        asked: dict[str, Any] = {"teacher.model": self.teacher, "completion.writer": {self.writer: 1.0}}
        if self.replays:
            asked |= {"teacher.source": "record", "loss.alpha": 0.0}
        if self.teacher == GENERALIST:
            asked |= {"allow_unqualified_teacher": True, "completion.keep_length_cut": True}
        return asked


ARMS = {
    "A": Arm("FT on recorded traces"),
    "B": Arm("SFT on the expert's written text", EXPERT, "teacher", replays="D"),
    "C": Arm("KD on recorded completions", EXPERT),
    "D": Arm("KD on the expert's written completions", EXPERT, "teacher"),
    "E": Arm("KD from the generalist's written completions", GENERALIST, "teacher"),
}
SECONDARY = {
    ("D", "B"): "Does the distribution add to the expert's text?",
    ("C", "A"): "Does the distribution add to recorded text?",
    ("B", "A"): "Is the expert's text better than recorded traces?",
    ("E", "A"): "Does a teacher that is no specialist harm?",
}
"""Comparisons beside the primary one, D against A, and what each asks."""
