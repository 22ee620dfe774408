"""The circuit breaker of one endpoint: it is left alone while it fails, and asked carefully before it is used again."""

import random

FAILURES = 3
"""Failures in a row that open the breaker; one is enough before the first answer after a probe."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class Breaker:
    """Closed: requests flow. Open, as at first: none does, until a probe passes. Times are those of one clock."""

    def __init__(self) -> None:
        self.is_open = True
        self._failures = 0
        self._on_trial = True
        self._pauses = 0
        self._closed_at = 0.0

    def failed(self, began: float) -> bool:
        """Count the failure of a request sent at `began`; True when it opens the breaker.

        One that was sent before the last probe says nothing about the endpoint as it is now.
        """
        if self.is_open or began < self._closed_at:
            return False
        self._failures += 1
        self.is_open = self._on_trial or self._failures >= FAILURES
        return self.is_open

    def answered(self) -> None:
        """A request was answered: what failed before is forgotten."""
        if not self.is_open:
            self._failures = self._pauses = 0
            self._on_trial = False

    def close(self, now: float) -> None:
        """A probe passed: let requests flow, on trial."""
        self.is_open, self._on_trial, self._failures, self._closed_at = False, True, 0, now

    def next_pause_s(self) -> float:
        """Seconds before the next probe: twice as long each time, up to half of it left to chance."""
        longest = min(FIRST_PAUSE_S * 2.0**self._pauses, LONGEST_PAUSE_S)
        self._pauses += 1
        return longest * random.uniform(0.5, 1)
