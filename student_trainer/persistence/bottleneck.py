"""Who waits for whom, in plain words: what holds a run up, read from the lines of its metrics.

The parts of a run's time are those of `step_times.py`, and what checkpoints blocked it for. A teacher would keep up if
it were step ÷ (step - waited) times as fast: that many times as many replicas.
"""

import logging
import time
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

Line = dict[str, Any]

EVERY_S = 180.0
HARDLY = 0.05
"""The share of the time up to which a wait is of no account."""
MUCH = 0.15
"""The share of the time from which a wait is what holds the run up."""
READING = 0.5
"""The share of the time from which reading and rendering, not the teacher, is what was waited for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimeShares:
    """Parts of the time that steps and checkpoints took, each between 0 and 1."""

    outage: float
    waited: float
    """Of the time without outages: what no replica more would have spared."""
    stream: float
    checkpoint: float


def verdict(lines: list[Line]) -> str:
    """One line on what holds the run up, by the `lines` of its steps; those of validations alone don't matter."""
    steps = [line for line in lines if "progress/used" in line]
    if not steps:
        return "no step was taken"
    shares, outage_s = _shares(steps), _sum(steps, "outage")
    outage = (
        f"no teacher answered for {outage_s:.0f} s, {shares.outage:.0%} of the time; else " if outage_s >= 1 else ""
    )
    return outage + _bound(shares, steps)


def _bound(shares: TimeShares, steps: list[Line]) -> str:
    asked = "pipeline/window" in steps[-1]
    if shares.checkpoint >= max(MUCH, shares.waited):
        return f"checkpoint-bound: the run stood still for checkpoints {shares.checkpoint:.0%}; raise checkpoint_every"
    if shares.waited >= MUCH and (shares.stream >= READING or not asked):
        return (
            f"stream-bound: trainers waited {shares.waited:.0%} while reading and rendering rows took "
            f"{shares.stream:.0%} of the time; add workers, which share the rows, or give each more cpus"
        )
    if shares.waited >= MUCH:
        return f"teacher-bound: trainers waited {shares.waited:.0%}; {_remedy(shares.waited, steps)}"
    waited = f"the teacher was waited for {shares.waited:.0%}" if asked else f"rows were waited for {shares.waited:.0%}"
    if shares.waited >= HARDLY:
        return f"balanced: {waited}"
    return f"student-bound: {waited}; add trainers to go faster"


def _shares(steps: list[Line]) -> TimeShares:
    step, outage, waited, stream, checkpoint = (
        _sum(steps, name) for name in ("step", "outage", "waited", "stream", "checkpoint")
    )
    total = max(step + checkpoint, 1e-9)
    waited_else = (waited - outage) / max(total - outage, 1e-9)
    return TimeShares(outage / total, waited_else, stream / total, checkpoint / total)


def _sum(steps: list[Line], name: str) -> float:
    return sum(line.get(f"time/{name}_s", 0.0) for line in steps)


def _remedy(waited: float, steps: list[Line]) -> str:
    factor = 1 / max(1 - waited, 1e-2)
    text = f"serve about {factor:.1f} times as many replicas"
    if replicas := steps[-1].get("pipeline/replicas"):
        text += f" (add {_between(replicas * (factor - 1))})"
    newest = steps[-1]
    if newest["pipeline/window"] >= newest["pipeline/window_limit"]:
        limit = newest["pipeline/window_limit"]
        text += f", or let the window exceed its limit of {limit:.0f}: teacher.window, or max_window where that is null"
    return text


def _between(number: float) -> str:
    low, high = max(1, floor(number)), max(1, ceil(number))
    return str(low) if low == high else f"{low} to {high}"


class Watch:
    """Logs the verdict on the steps since the last one, every few minutes."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._said_at = time.monotonic()

    def see(self, line: Line) -> None:
        """Take in one more line of metrics."""
        self._lines.append(line)
        if time.monotonic() - self._said_at >= EVERY_S:
            log.info("%s", verdict(self._lines))
            self._lines, self._said_at = [], time.monotonic()
