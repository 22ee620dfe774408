"""How far a run asks its teacher ahead: congestion control (AIMD, here in whole steps) for the prefetch window.

The window is the number of prompts asked and not yet used. By Little's law a trainer that never waits needs

    needed = share of a step × ⌈HEADROOM × longest latency ÷ seconds of a step without waiting⌉

but under a teacher slower than its trainers latency grows with the window, and more buys nothing. So the window is
changed once a round, and growth is kept only where it pays. A round is as many steps as the window reaches ahead,
FEW_STEPS at least. A step counts if its answers were asked under the present size and it met no outage.

| at the end of a round | state | then |
|---|---|---|
| waited at most HARDLY of a step | any | **settle**: size = needed, at most halved; forget baseline and cooldown |
| waited more | after growth, waiting above PAYS of the baseline's | back to the baseline's size, **cool down** |
| waited more | cooling down | after COOLDOWN_ROUNDS, or when waiting changed by CHANGED of a step: halve |
| waited more | else, size below needed | **grow**: this is the baseline; size = min(2 × size, needed) |
| waited more | else | **cool down** |

| at a step that met an outage | then |
|---|---|
| the first since a whole round passed without | the round begins anew: one outage says nothing of the size |
| another, in a step whose answers were asked since | halve and **cool down**: a queue that answers are not waited for |

The size is never below a worker's share of a step, and never above the most that may be held. The times are those of
all workers together, so that all have the same window and none grows at another's cost.
"""

from collections.abc import Mapping
from math import ceil
from statistics import fmean
from typing import NamedTuple

HEADROOM = 1.25
HARDLY = 0.02
"""The share of a step that may be waited for without any need to grow."""
PAYS = 0.9
"""Growth pays where it leaves at most this share of the waiting."""
CHANGED = 0.5
"""The part of a step by which the waiting must change to end a cooldown."""
FEW_STEPS = 16
COOLDOWN_ROUNDS = 16
FADES = 0.7
"""What a round leaves of the longest latency."""


class StepSeen(NamedTuple):
    """One step, in seconds: how long the slowest worker waited, how long all took, the longest latency of an answer,
    what of the wait an outage was; and how many steps ago the first of its answers was asked for.
    """

    waited_s: float
    step_s: float
    latency_s: float
    outage_s: float
    staleness: float

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> "StepSeen":
        """By the names of `learning/step_times.py`."""
        return cls(
            waited_s=metrics["time/waited_s"],
            step_s=metrics["time/step_s"],
            latency_s=metrics["pipeline/latency_s"],
            outage_s=metrics["time/outage_s"],
            staleness=metrics["pipeline/staleness"],
        )


class _Baseline(NamedTuple):
    """The size before growth, and the seconds waited per step there."""

    size: int
    waited_s: float


class AdaptiveWindow:
    """The window of a worker whose share of a step is `share` prompts: `size`, between that and `most`."""

    def __init__(self, share: int, most: int) -> None:
        self._share, self._most = max(1, min(share, most)), most
        self.size = min(2 * self._share, most)
        self._longest_s = 0.0
        self._baseline: _Baseline | None = None
        self._cooldown = 0
        self._cooldown_waited_s: float | None = None
        self._round: list[StepSeen] = []
        self._steps_since = -1  # a change of the size, or an outage; and the first step waits for a start
        self._steps_since_outage: int | None = None

    def observe(self, step: StepSeen) -> int:
        """The size after `step`."""
        self._steps_since += 1
        if self._steps_since_outage is not None:
            self._steps_since_outage += 1
        if step.outage_s:
            self._outage(step.staleness)
        elif step.staleness < self._steps_since:
            self._round.append(step)
            if len(self._round) >= max(FEW_STEPS, ceil(self.size / self._share)):
                self._end_round()
                self._round, self._steps_since_outage = [], None
        return self.size

    def _outage(self, staleness: float) -> None:
        if self._steps_since_outage is None:
            self._steps_since_outage = 0
        elif staleness < self._steps_since_outage:
            self._steps_since_outage = 0
            self._resize(self.size // 2)
            self._cool_down(None)
        self._round, self._steps_since = [], 0

    def _end_round(self) -> None:
        waited_s, step_s = (fmean(step[i] for step in self._round) for i in (0, 1))
        self._longest_s = max(FADES * self._longest_s, *(step.latency_s for step in self._round))
        needed = self._needed(step_s - waited_s)
        if waited_s <= HARDLY * step_s:
            self._settle(needed)
        elif self._baseline is not None and waited_s > PAYS * self._baseline.waited_s:
            self._resize(self._baseline.size)
            self._cool_down(self._baseline.waited_s)
        elif self._cooldown:
            self._go_on_cooling(waited_s, step_s)
        elif min(2 * self.size, needed) > self.size:
            self._grow(needed, waited_s)
        else:
            self._cool_down(waited_s)

    def _needed(self, busy_s: float) -> int:
        """Little's law, in whole steps, within the bounds."""
        steps = ceil(HEADROOM * self._longest_s / max(busy_s, 1e-9))
        return max(self._share, min(self._share * steps, self._most))

    def _settle(self, needed: int) -> None:
        self._baseline, self._cooldown = None, 0
        self._resize(max(min(needed, self.size), self.size // 2))

    def _grow(self, needed: int, waited_s: float) -> None:
        self._baseline = _Baseline(self.size, waited_s)
        self._resize(min(2 * self.size, needed))

    def _cool_down(self, waited_s: float | None) -> None:
        """Keep the size; `waited_s` is the waiting whose change ends that, the next round's if None."""
        self._baseline, self._cooldown, self._cooldown_waited_s = None, COOLDOWN_ROUNDS, waited_s

    def _go_on_cooling(self, waited_s: float, step_s: float) -> None:
        if self._cooldown_waited_s is None:
            self._cooldown_waited_s = waited_s
        changed = abs(waited_s - self._cooldown_waited_s) > CHANGED * step_s
        self._cooldown = 0 if changed else self._cooldown - 1
        if not self._cooldown:
            self._resize(self.size // 2)

    def _resize(self, size: int) -> None:
        size = max(self._share, size)
        if size != self.size:
            self.size, self._steps_since = size, 0
