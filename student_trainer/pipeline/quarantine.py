"""When too many prompts are set aside for a run to be worth going on."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from common.errors import UserError
from student_trainer.data.plan import StepExamples
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
    """Stops a run that sets too large a share of its prompts aside, counted since it was started.

    `teacher.quarantine_limit` is for those that the teacher left without an answer, `set_aside_limit` for all. A run
    that was taken `whole`, from its first step to its last, must have used at least one.
    """

    def __init__(self, settings: TrainSettings, whole: bool) -> None:
        self._whole = whole
        self._teacher_share = settings.teacher.quarantine_limit if settings.teacher else 1.0
        self._share, self._run_folder = settings.set_aside_limit, settings.run_folder
        self._asked = self._unanswered = self._used = self._set_aside = 0.0
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
        self._teacher_reasons.update(map(_in_general, step.teacher.unanswered if step.teacher else ()))
        self._reasons.update(_in_general(prompt.reason) for prompt in step.unused)
        self._judge_teacher(join)
        self._judge_all(join)
        if last and self._whole and not self._used:
            raise UserError(
                f"none of {self._set_aside:.0f} prompts could be used, so nothing was learnt: "
                f"{self._named(self._reasons, join)}"
            )

    def _judge_teacher(self, join: Join) -> None:
        if self._asked < ENOUGH_ASKED or self._unanswered < ENOUGH_UNANSWERED:
            return
        if self._unanswered > self._teacher_share * self._asked:
            raise UserError(
                f"the teacher left {self._unanswered:.0f} of {self._asked:.0f} prompts without an answer, "
                f"teacher.quarantine_limit allows {self._teacher_share:.1%}: "
                f"{self._named(self._teacher_reasons, join)}; mend the teacher, or raise the limit"
            )

    def _judge_all(self, join: Join) -> None:
        seen = self._used + self._set_aside
        if seen < ENOUGH_ASKED or self._set_aside <= WORTH_A_WARNING * seen:
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


def _in_general(reason: str) -> str:
    """Without numbers, so that reasons that differ in ids and sizes count as one."""
    return re.sub(r"\d+(\.\d+)?", "…", reason)


def _commonest(reasons: Iterable[str]) -> str:
    return "; ".join(f"{times} times: {reason}" for reason, times in Counter(reasons).most_common(REASONS))
