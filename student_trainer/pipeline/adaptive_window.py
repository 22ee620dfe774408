"""How far a run asks its teacher ahead: the rule by which the window sizes itself.

A window holds what is asked and not yet used. Little's law says how much a trainer that never waits needs: its demand,
a worker's share of a step ÷ the seconds that a step takes when nothing is waited for, times the teacher's latency. Here
with HEADROOM on the longest latency seen lately, and in whole steps. That holds while trainers are slower than their
teacher. A teacher that is slower lets what it is asked queue, so that latency grows with the window and Little's law
asks for ever more, though more buys nothing. Therefore, turn by turn, a turn being at least as many steps as the window
reaches ahead, and FEW_STEPS, since answers come in bursts. A step whose answers were asked under another size, or in
an outage, isn't counted, as its staleness tells:

- Where steps hardly waited, the window falls to what Little's law asks for, by half at most.
- Where they waited, it doubles, up to what Little's law asks for. Unless the seconds waited per step then fall by a
  tenth at least, it goes back to where it was and rests. (So little, since too large a window costs a queue at the
  teacher, and too small a one costs speed; not less, since it would grow by chance.)
- A rest ends after REST_TURNS turns, or when the waiting changes by half a step: the window is halved and grows again
  while that pays. So it also finds its size under a teacher that lost replicas and refuses what is too much.

One outage says nothing of the size: the turn begins anew. Another before a turn has passed, whose step used only what
was asked since the first, may be the window's own doing, as a queue grew longer than answers are waited for: the size
is halved and rests. So it is each time, until a whole turn passes without.
The size is never below a step's share, and never above the most that may be held. The times are those of all workers
together, so that all have the same window and none grows at another's cost.
"""

from math import ceil
from statistics import fmean
from typing import NamedTuple

HEADROOM = 1.25
HARDLY = 0.02
"""The share of a step that may be waited for without any need to grow."""
PAYS = 0.9
"""Growth pays where it leaves at most this share of the waiting."""
CHANGED = 0.5
"""The part of a step by which the waiting must change to end a rest."""
FEW_STEPS = 16
REST_TURNS = 16
FADES = 0.7
"""What a turn leaves of the longest latency."""


class StepSeen(NamedTuple):
    """One step, in seconds: how long the slowest worker waited, how long all took, the longest latency of an answer,
    what of the wait an outage was; and how many steps ago the first of its answers was asked for.
    """

    waited_s: float
    step_s: float
    latency_s: float
    outage_s: float
    staleness: float


class _Smaller(NamedTuple):
    """The size before growth, and the seconds waited per step there."""

    size: int
    waited_s: float


class WindowSize:
    """The window of a worker whose share of a step is `share` prompts: `size`, between that and `most`."""

    def __init__(self, share: int, most: int) -> None:
        self._share, self._most = max(1, min(share, most)), most
        self.size = min(2 * self._share, most)
        self._longest_s = 0.0
        self._smaller: _Smaller | None = None
        self._rest = 0
        self._rests_at_s: float | None = None
        self._turn: list[StepSeen] = []
        self._steps_since = -1  # a change of the size, or an outage; and the first step waits for a start
        self._steps_since_outage: int | None = None

    def see(self, step: StepSeen) -> int:
        """The size after `step`."""
        self._steps_since += 1
        if self._steps_since_outage is not None:
            self._steps_since_outage += 1
        if step.outage_s:
            self._see_outage(step.staleness)
        elif step.staleness < self._steps_since:
            self._turn.append(step)
            if len(self._turn) >= max(FEW_STEPS, ceil(self.size / self._share)):
                self._decide()
                self._turn, self._steps_since_outage = [], None
        return self.size

    def _see_outage(self, staleness: float) -> None:
        if self._steps_since_outage is None:
            self._steps_since_outage = 0
        elif staleness < self._steps_since_outage:
            self._steps_since_outage = 0
            self._resize(self.size // 2)
            self._take_rest(None)
        self._turn, self._steps_since = [], 0

    def _decide(self) -> None:
        waited_s, step_s = (fmean(step[i] for step in self._turn) for i in (0, 1))
        self._longest_s = max(FADES * self._longest_s, *(step.latency_s for step in self._turn))
        needed = self._needed(step_s - waited_s)
        if waited_s <= HARDLY * step_s:
            self._smaller, self._rest = None, 0
            self._resize(max(min(needed, self.size), self.size // 2))
        elif self._smaller is not None and waited_s > PAYS * self._smaller.waited_s:
            self._resize(self._smaller.size)
            self._take_rest(self._smaller.waited_s)
        elif self._rest:
            self._rests_at_s = waited_s if self._rests_at_s is None else self._rests_at_s
            changed = abs(waited_s - self._rests_at_s) > CHANGED * step_s
            self._rest = 0 if changed else self._rest - 1
            if not self._rest:
                self._resize(self.size // 2)
        elif (larger := min(2 * self.size, needed)) > self.size:
            self._smaller = _Smaller(self.size, waited_s)
            self._resize(larger)
        else:
            self._take_rest(waited_s)

    def _needed(self, busy_s: float) -> int:
        """Little's law, in whole steps, within the bounds."""
        steps = ceil(HEADROOM * self._longest_s / max(busy_s, 1e-9))
        return max(self._share, min(self._share * steps, self._most))

    def _take_rest(self, waited_s: float | None) -> None:
        """Rest, which ends when the waiting changes from `waited_s`; from that of the next turn if that is None."""
        self._smaller, self._rest, self._rests_at_s = None, REST_TURNS, waited_s

    def _resize(self, size: int) -> None:
        size = max(self._share, size)
        if size != self.size:
            self.size, self._steps_since = size, 0
