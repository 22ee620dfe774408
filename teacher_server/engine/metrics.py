"""What a replica counts: every metric with its meaning and tags, and where the numbers go."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

FIRST_ROW_S = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus knows it; a histogram has its buckets' upper `boundaries`."""

    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


METRICS = {
    "teacher_requests": Metric(
        "counter", "Requests answered, by the API key's name, path and HTTP status.", ("client", "path", "status")
    ),
    "teacher_refused": Metric("counter", "Requests answered by an error, by its code.", ("client", "reason")),
    "teacher_bytes_sent": Metric("counter", "Bytes of answers' bodies, in the form they left.", ("client", "path")),
    "teacher_requests_in_progress": Metric("gauge", "Admitted requests being answered."),
    "teacher_sequences_in_progress": Metric("gauge", "Sequences of those requests."),
    "teacher_sequences": Metric(
        "counter",
        "Sequences (rows) answered, by model and outcome: scored; stop or length (written); failed.",
        ("model", "outcome"),
    ),
    "teacher_positions": Metric(
        "counter", "Positions of completions answered, by model and outcome.", ("model", "outcome")
    ),
    "teacher_streams_cut": Metric("counter", "Answers cut off because the engine died midway.", ("model",)),
    "teacher_first_row_seconds": Metric(
        "histogram", "Seconds from a request's admission to its first answered sequence.", ("model",), (*FIRST_ROW_S,)
    ),
    "teacher_health_checks": Metric("counter", "Health checks of Serve, by what they found.", ("outcome",)),
    "teacher_engine_steps": Metric("counter", "Steps that the engine's processes reported."),
    "teacher_engine_prefix_reads": Metric("counter", "Sequences scored with the prefix cache."),
    "teacher_engine_prefix_fallbacks": Metric(
        "counter", "Sequences scored again without the prefix cache, since it held a position that was asked for."
    ),
}
"""Every metric of ours. vLLM's own stand beside them; Ray writes `ray_` before both."""


class Recorder(Protocol):
    """Where numbers go."""

    def record(self, name: str, value: float, **tags: str) -> None:
        """Add `value` to a counter, set a gauge to it, or observe it in a histogram; `tags` as METRICS declares."""
        ...


class Meter:
    """Counts what one admitted request for `model` was answered."""

    def __init__(self, recorder: Recorder, model: str) -> None:
        self._recorder = recorder
        self._model = model
        self._admitted_at: float | None = time.perf_counter()

    def answered(self, finish_reason: str | None, positions: int) -> None:
        """One sequence was answered with so many positions; without a `finish_reason` it failed by itself."""
        if self._admitted_at is not None:
            waited = time.perf_counter() - self._admitted_at
            self._recorder.record("teacher_first_row_seconds", waited, model=self._model)
            self._admitted_at = None
        outcome = finish_reason or "failed"
        self._recorder.record("teacher_sequences", 1, model=self._model, outcome=outcome)
        if positions:
            self._recorder.record("teacher_positions", positions, model=self._model, outcome=outcome)

    def cut(self) -> None:
        """The answer ends before its end, since the engine died."""
        self._recorder.record("teacher_streams_cut", 1, model=self._model)


class DeltaCounter:
    """Passes on by how much the engine's own counters grew since the last look."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: Counter[str] = Counter()

    def look(self, counters: Mapping[str, int]) -> None:
        for name, total in counters.items():
            if total > self._seen[name]:
                self._recorder.record(f"teacher_engine_{name}", total - self._seen[name])
        self._seen = Counter(counters)
