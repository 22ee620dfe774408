"""How much of what is asked ahead may be held, as the settings say."""

from typing import Self

from student_trainer.pipeline.adaptive_window import AdaptiveWindow, StepSeen
from student_trainer.settings import LiveTeacherSettings


class PrefetchLimits:
    """`size` prompts may be begun and not yet taken, up to `limit` where it changes; `most` while a reader waits."""

    def __init__(self, size: int, limit: int, most: int, adaptive: AdaptiveWindow | None = None) -> None:
        self.size, self.limit, self.most, self._adaptive = size, limit, most, adaptive

    @classmethod
    def of(cls, teacher: LiveTeacherSettings | None, share: int) -> Self:
        """Limits of a worker whose share of a step is `share` prompts.

        - Without a teacher, two steps.
        - With `teacher.window`, that.
        - Where a live teacher is asked, as `adaptive_window.py` says; where its record is replayed, two steps.
        """
        if teacher is None:
            return cls(2 * share, 2 * share, 2 * share)
        if teacher.window is not None:
            return cls(teacher.window, teacher.window, teacher.max_window)
        if teacher.source == "record":
            return cls(min(2 * share, teacher.max_window), teacher.max_window, teacher.max_window)
        adaptive = AdaptiveWindow(share, teacher.max_window)
        return cls(adaptive.size, teacher.max_window, teacher.max_window, adaptive)

    def observe(self, seen: StepSeen) -> bool:
        """Take in a step; whether `size` changed."""
        if self._adaptive is None:
            return False
        before, self.size = self.size, self._adaptive.observe(seen)
        return self.size != before
