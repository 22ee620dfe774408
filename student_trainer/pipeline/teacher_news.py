"""What became of the teacher and of the prompts that it was asked, step by step; and when that is too much."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from common.errors import UserError
from student_trainer.settings import TrainSettings

ENOUGH_ASKED = 50
"""Prompts asked before the share without an answer is judged."""
ENOUGH_UNANSWERED = 5
REASONS = 3
"""How many of the commonest reasons are named."""

Counts = dict[str, float]
"""What went wrong and was overcome: `retries` (calls made again), `rejected` (answers that could not be used), `opened`
(times that an endpoint was left alone), `outage_s` (seconds without any endpoint that was well)."""
OUTAGE = "outage_s"
NO_COUNTS: Counts = dict.fromkeys(("retries", "rejected", "opened", OUTAGE), 0)


@dataclass(frozen=True)
class TeacherNews:
    """One worker's share of a step: prompts that the teacher was asked, and why some of them got no answer."""

    asked: int = 0
    unanswered: tuple[str, ...] = ()
    """A reason for each."""
    counts: Counts = field(default_factory=dict)
    """What was new in the time of this step."""

    def metrics(self) -> dict[str, float]:
        """Figures that add up over workers, by their names in metrics.jsonl; none where no teacher is asked.

        Outages don't: workers have the same ones.
        """
        if not self.counts:
            return {}
        figures = {"asked": self.asked, "unanswered": len(self.unanswered), **self.counts}
        return {f"teacher/{name}": value for name, value in figures.items() if name != OUTAGE}

    @property
    def outage_s(self) -> float:
        """How long no endpoint was well."""
        return self.counts.get(OUTAGE, 0.0)


NO_NEWS = TeacherNews()


class Newsagent:
    """Tells what is new in counts that only grow."""

    def __init__(self, read: Callable[[], Counts]) -> None:
        self._read, self._told = read, Counter[str]()

    def news(self) -> Counts:
        """How much each count grew since the last call."""
        counts = self._read()
        grown = {name: count - self._told[name] for name, count in counts.items()}
        self._told = Counter(counts)
        return grown


class QuarantineLimit:
    """Stops a run of which too large a share of the prompts got no answer since it was started."""

    def __init__(self, settings: TrainSettings) -> None:
        self._share = settings.teacher.quarantine_limit if settings.teacher else 1.0
        self._run_folder = settings.run_folder
        self._asked = self._unanswered = 0.0
        self._reasons: Counter[str] = Counter()

    def judge(self, news: TeacherNews, metrics: dict[str, Any], joined: Callable[[list[str]], list[str]]) -> None:
        """Take in a step: this worker's `news`, and the `metrics` of all workers, so that all judge alike.

        `joined` gathers lists over the workers. Raises UserError, on every worker, when it is too much.
        """
        self._asked += metrics.get("teacher/asked", 0)
        self._unanswered += metrics.get("teacher/unanswered", 0)
        self._reasons.update(map(_in_general, news.unanswered))
        if self._asked < ENOUGH_ASKED or self._unanswered < ENOUGH_UNANSWERED:
            return
        if self._unanswered > self._share * self._asked:
            reasons = joined(list(self._reasons.elements()))
            raise UserError(
                f"the teacher left {self._unanswered:.0f} of {self._asked:.0f} prompts without an answer, "
                f"teacher.quarantine_limit allows {self._share:.1%}: {_commonest(reasons)}; "
                f"quarantine.jsonl in {self._run_folder} names each; mend the teacher, or raise the limit"
            )


def _in_general(reason: str) -> str:
    """Without numbers, so that reasons that differ in ids and sizes count as one."""
    return re.sub(r"\d+(\.\d+)?", "…", reason)


def _commonest(reasons: Iterable[str]) -> str:
    return "; ".join(f"{times} times: {reason}" for reason, times in Counter(reasons).most_common(REASONS))
