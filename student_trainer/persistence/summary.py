"""A run in a few numbers and in plain words: what holds it up, read from the lines of its metrics.

The parts of a run's time are those of `step_times.py`, and what checkpoints blocked it for. A teacher would keep up if
it were step ÷ (step - waited) times as fast: that many times as many replicas.
"""

import json
import logging
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

from common.files import write_atomically
from common.run_folder import RunFolder
from student_trainer.persistence.run_folder import STEP, Metrics, read_metrics
from student_trainer.student_settings import StudentSettings

EVERY_S = 180.0
WORTH_A_WORD = 0.1
"""The share of prompts set aside from which the verdict begins with that."""
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


def write_summary(run_folder: Path) -> None:
    """Write down how the run went, which says that it is finished. Raises OSError."""
    summary = summarise(read_metrics(run_folder))
    log.info("%s", summary["verdict"])
    write_atomically(RunFolder(run_folder).summary, json.dumps(summary, indent=2) + "\n")


def is_finished(run_folder: Path, student: StudentSettings) -> bool:
    """Whether all that the end of a run with such a student writes is there."""
    files = RunFolder(run_folder)
    return files.student(student.is_whole).exists() and _is_whole(files.summary)


def _is_whole(summary: Path) -> bool:
    try:
        return isinstance(json.loads(summary.read_bytes()), dict)
    except (FileNotFoundError, ValueError):
        return False


def summarise(metrics: list[Metrics]) -> Metrics:
    """The run in a few numbers, from the lines of its metrics file."""
    steps = [line for line in metrics if "progress/used" in line]
    checks = [_validation(line) for line in metrics if "validation/loss" in line]
    parts = ("step", "waited", "outage", "stream", "compute", "optimizer", "checkpoint", "watchdog")
    times = {part: sum(line.get(f"time/{part}_s", 0.0) for line in steps) for part in parts}
    seconds = times["step"]
    names = ("used", "quarantined", "dropped_by_length", "tokens", "positions")
    totals = {name: int(sum(line[f"progress/{name}"] for line in steps)) for name in names}
    answer_bytes = sum(line["progress/answer_bytes"] for line in steps)
    return {
        "steps": len(steps),
        **totals,
        "bytes_per_position": round(answer_bytes / max(totals["positions"], 1), 1),
        "seconds": round(seconds, 3),
        "tokens_per_s": round(totals["tokens"] / max(seconds, 1e-9), 1),
        "waited_fraction": round(times["waited"] / max(seconds, 1e-9), 4),
        "times_s": {part: round(total, 3) for part, total in times.items()},
        "staleness": max((line.get("pipeline/staleness", 0) for line in steps), default=0),
        "verdict": verdict(steps),
        "validation_before": checks[0] if checks else None,
        "validation_after": checks[-1] if checks else None,
    }


def _validation(line: Metrics) -> Metrics:
    named = {name.removeprefix("validation/"): line[name] for name in line if name.startswith("validation/")}
    return {"step": line[STEP], **named}


def verdict(lines: list[Metrics]) -> str:
    """One line on what holds the run up, by the `lines` of its steps; those of validations alone don't matter."""
    steps = [line for line in lines if "progress/used" in line]
    if not steps:
        return "no step was taken"
    shares, outage_s = _shares(steps), _sum(steps, "outage")
    outage = (
        f"no teacher answered for {outage_s:.0f} s, {shares.outage:.0%} of the time; else " if outage_s >= 1 else ""
    )
    return _set_aside(steps) + outage + _bound(shares, steps)


def _set_aside(steps: list[Metrics]) -> str:
    """What was set aside, where that is worth a word."""
    used = sum(line["progress/used"] for line in steps)
    aside = sum(line["progress/quarantined"] + line["progress/dropped_by_length"] for line in steps)
    if aside <= WORTH_A_WORD * (used + aside):
        return ""
    return f"{aside:.0f} of {used + aside:.0f} prompts were set aside, quarantine.jsonl says why; "


def _bound(shares: TimeShares, steps: list[Metrics]) -> str:
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


def _shares(steps: list[Metrics]) -> TimeShares:
    step, outage, waited, stream, checkpoint = (
        _sum(steps, name) for name in ("step", "outage", "waited", "stream", "checkpoint")
    )
    total = max(step + checkpoint, 1e-9)
    waited_else = (waited - outage) / max(total - outage, 1e-9)
    return TimeShares(outage / total, waited_else, stream / total, checkpoint / total)


def _sum(steps: list[Metrics], name: str) -> float:
    return sum(line.get(f"time/{name}_s", 0.0) for line in steps)


def _remedy(waited: float, steps: list[Metrics]) -> str:
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
    """Logs the verdict on the steps since the last one, whenever they took a few minutes."""

    def __init__(self) -> None:
        self._lines: list[Metrics] = []

    def see(self, line: Metrics) -> None:
        """Take in one more line of metrics."""
        self._lines.append(line)
        if _sum(self._lines, "step") + _sum(self._lines, "checkpoint") >= EVERY_S:
            log.info("%s", verdict(self._lines))
            self._lines = []
