"""When too many prompts are set aside for a run to be worth going on."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError
from student_trainer.data.plan import UNANSWERED, StepExamples
from student_trainer.settings import TrainSettings

ENOUGH_ASKED = 50
"""Prompts before a share of them is judged."""
ENOUGH_UNANSWERED = 5
WORTH_A_WARNING = 0.1
"""The share of prompts set aside from which the log warns, once."""
REASONS = 3
"""How many of the commonest reasons are named."""

log = logging.getLogger(__name__)
Join = Callable[[list[str]], list[str]]
"""Gathers lists over the workers."""


class QuarantineLimit:
    """Stops a run that sets too large a share of its prompts aside.

    `teacher.quarantine_limit` is for those that the teacher left without an answer since the run was started,
    `set_aside_limit` for all of the run's, those of earlier starts in its ledgers included. Make it when the ledgers
    are cut back to where the run goes on. A run must have used at least one prompt in the end.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._teacher_share = settings.teacher.quarantine_limit if settings.teacher else 1.0
        self._share, self._run_folder = settings.set_aside_limit, settings.run_folder
        self._asked = self._unanswered = 0.0
        self._used, self._set_aside = float(_lines(settings.files.used)), float(_lines(settings.files.quarantine))
        self._warned = False
        self._teacher_reasons: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def judge(self, step: StepExamples, metrics: dict[str, Any], last: bool, join: Join) -> None:
        """Take in this worker's share of a step, the `last` one or not, and the `metrics` of all workers, so that all
        judge alike.

        Raises UserError, on every worker, when it is too much.
        """
        self._asked += metrics.get("teacher/asked", 0)
        self._unanswered += metrics.get("teacher/unanswered", 0)
        self._used += metrics["progress/used"]
        self._set_aside += metrics["progress/quarantined"] + metrics["progress/dropped_by_length"]
        for prompt in step.unused:
            reason = _in_general(prompt.id, prompt.reason)
            self._reasons[reason] += 1
            self._teacher_reasons[reason] += prompt.kind in UNANSWERED
        self._judge_teacher(join)
        self._judge_all(last, join)

    def _judge_teacher(self, join: Join) -> None:
        if self._asked < ENOUGH_ASKED or self._unanswered < ENOUGH_UNANSWERED:
            return
        if self._unanswered > self._teacher_share * self._asked:
            raise UserError(
                f"the teacher left {self._unanswered:.0f} of {self._asked:.0f} prompts without an answer, "
                f"teacher.quarantine_limit allows {self._teacher_share:.1%}: "
                f"{self._named(self._teacher_reasons, join)}; mend the teacher, or raise the limit"
            )

    def _judge_all(self, last: bool, join: Join) -> None:
        seen = self._used + self._set_aside
        if last and not self._used:
            raise UserError(
                f"none of {seen:.0f} prompts could be used, so nothing was learnt: {self._named(self._reasons, join)}"
            )
        if (seen < ENOUGH_ASKED and not last) or self._set_aside <= WORTH_A_WARNING * seen:
            return
        said = f"{self._set_aside:.0f} of {seen:.0f} prompts were set aside"
        if self._set_aside > self._share * seen:
            raise UserError(
                f"{said}, set_aside_limit allows {self._share:.1%}: {self._named(self._reasons, join)}; mend the data "
                "or the settings that set them aside, or raise the limit"
            )
        if not self._warned:
            self._warned = True
            log.warning("%s (%.0f%%): %s", said, 100 * self._set_aside / seen, _commonest(self._reasons.elements()))

    def _named(self, reasons: Counter[str], join: Join) -> str:
        return f"{_commonest(join(list(reasons.elements())))}; quarantine.jsonl in {self._run_folder} names each"


def _in_general(id: str, reason: str) -> str:
    """Without the row's id and without numbers, so that reasons that differ in those alone count as one."""
    return re.sub(r"\d+(\.\d+)?", "…", reason.replace(id, "…"))


def _lines(file: Path) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _commonest(reasons: Iterable[str]) -> str:
    return "; ".join(f"{times} times: {reason}" for reason, times in Counter(reasons).most_common(REASONS))
