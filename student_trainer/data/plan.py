"""What flows into a training step: examples, grouped by the step that uses them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from common.sequences import Sequence
from common.teacher_client.failures import FailureKind
from common.wire import TeacherAnswer

Kind = FailureKind | Literal["does_not_fit", "does_not_render", "cut_by_length", "unknown_token"]
"""Why a prompt gave no example: the teacher's doing; or too long for the run, turns that the chat template rewords, a
completion without an end, one with a token that the student has no row for."""
UNANSWERED: tuple[Kind, ...] = ("refused", "bad_answer", "failed")
ANSWERED: tuple[Kind, ...] = ("cut_by_length", "unknown_token")
"""Kinds of prompts that the teacher answered, to no use."""


@dataclass(frozen=True, order=True, slots=True)
class Key:
    """A prompt's place in the global order; epoch -1 is the validation slice."""

    epoch: int
    index: int


@dataclass(frozen=True)
class Example:
    """A sequence and what the teacher says about its completion; `answer` is None without a teacher (mode sft)."""

    sequence: Sequence
    answer: TeacherAnswer | None
    key: Key


@dataclass(frozen=True)
class Unused:
    """A prompt without an example, and why."""

    id: str
    key: Key
    kind: Kind
    reason: str


@dataclass(frozen=True)
class Used:
    """A prompt that a step trained on."""

    id: str
    key: Key


@dataclass(frozen=True)
class StepPlan:
    """One rank's share of one optimizer step: `indices` of the epoch's global order."""

    step: int  # from 1
    epoch: int  # from 0
    indices: range


@dataclass(frozen=True, kw_only=True)
class PrefetchStats:
    """How far this rank's asking was ahead of a step: counts as the step began, and what its answers took."""

    window: int
    window_limit: int
    """The size that the window may not exceed: `teacher.window`, or `teacher.max_window` where it sizes itself."""
    in_flight: int
    ready: int
    latency_s: float
    """Seconds from asking to having the slowest of the step's answers."""
    staleness: int
    """How many steps before this one the first of its answers was asked for."""
    replicas: int | None
    """Of the teacher, where it says so."""


@dataclass(frozen=True)
class TeacherStats:
    """One worker's share of a step: what became of the prompts that the teacher was asked, and of the teacher."""

    asked: int = 0
    unanswered: int = 0
    """Of them, those that got no answer."""
    counts: dict[str, float] = field(default_factory=dict)
    """What the teacher's client met with and overcame since the step before (`common/teacher_client/pool.py`)."""

    def metrics(self) -> dict[str, float]:
        """Figures that add up over workers, by their names in metrics.jsonl. Outages don't: workers have the same."""
        figures = {"asked": self.asked, "unanswered": self.unanswered, **self.counts}
        return {f"teacher/{name}": value for name, value in figures.items() if name != "outage_s"}

    @property
    def outage_s(self) -> float:
        """How long no endpoint was well."""
        return self.counts.get("outage_s", 0.0)


@dataclass(frozen=True, kw_only=True)
class StepExamples:
    """A step's examples of one rank, in the global order, and its prompts that gave none."""

    plan: StepPlan
    examples: list[Example]
    unused: list[Unused]
    began: float
    """When the caller asked for them, by `time.perf_counter`."""
    waited_s: float
    """Seconds the caller was blocked for them."""
    stream_s: float
    """Seconds spent on reading and rendering rows, in the background, since the step before."""
    prefetch: PrefetchStats | None = None
    """None where no live teacher is asked."""
    teacher: TeacherStats | None = None
    """None where examples need no teacher's answers."""

    def outcomes(self) -> list[Used | Unused]:
        """What becomes of this worker's prompts."""
        return [*(Used(example.sequence.id, example.key) for example in self.examples), *self.unused]

    @property
    def quarantined(self) -> int:
        return sum(prompt.kind != "cut_by_length" for prompt in self.unused)

    @property
    def dropped_by_length(self) -> int:
        return sum(prompt.kind == "cut_by_length" for prompt in self.unused)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimizer steps of an epoch; the last one may be short."""
    return -(-rows // batch_size)


def total_steps(rows: int, batch_size: int, epochs: int, max_steps: int | None) -> int:
    """The last step of the run."""
    planned = epochs * steps_per_epoch(rows, batch_size)
    return planned if max_steps is None else min(max_steps, planned)


def next_index(step: int, rows: int, batch_size: int) -> tuple[int, int]:
    """(epoch, index) at which the step after `step` begins."""
    epoch, within = divmod(step, steps_per_epoch(rows, batch_size))
    return epoch, within * batch_size


def plan_steps(
    rows: int, batch_size: int, epochs: int, max_steps: int | None, rank: int, world: int, done: int = 0
) -> Iterator[StepPlan]:
    """Yield this rank's plans after step `done`.

    Step s of an epoch consumes indices [sB, (s+1)B) of its order and rank r takes a contiguous slice of them, so the
    number of workers changes nothing but speed. A rank's slice may be empty.
    """
    per_epoch = steps_per_epoch(rows, batch_size)
    for step in range(done + 1, total_steps(rows, batch_size, epochs, max_steps) + 1):
        epoch, within = divmod(step - 1, per_epoch)
        start, stop = within * batch_size, min((within + 1) * batch_size, rows)
        share = stop - start
        first, end = start + share * rank // world, start + share * (rank + 1) // world
        yield StepPlan(step, epoch, range(first, end))
