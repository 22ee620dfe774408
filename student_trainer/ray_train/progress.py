"""A run's progress, read from its metrics as they come: step, loss, tokens/s, and how long it waited for its source."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from common.run_folder import RunFolder

LOOK_EVERY_S = 0.5
PLAIN_EVERY_S = 5.0
RECENT_STEPS = 10

Metrics = dict[str, Any]


class Tail:
    """The whole lines that come to a file from now on; all of its lines where another file takes its place."""

    def __init__(self, file: Path) -> None:
        self._file, self._inode, self._offset = file, 0, 0
        if file.exists():
            self._inode, self._offset = file.stat().st_ino, file.stat().st_size

    def read(self) -> tuple[bytes, bool]:
        """The lines since the last call, and whether they are of another file than those before."""
        if not self._file.exists():
            return b"", False
        with self._file.open("rb") as stream:
            inode = self._file.stat().st_ino
            is_other = inode != self._inode
            self._inode, self._offset = inode, 0 if is_other else self._offset
            stream.seek(self._offset)
            lines, newline, _ = stream.read().rpartition(b"\n")
            self._offset += len(lines) + len(newline)
        return lines + newline, is_other


class ProgressLine:
    """A bar and a line on a terminal; elsewhere a line every few seconds, when there is news.

    A thread of its own looks for news while the context is open. New lines of the run's log are printed above it.
    `source` is who the run waits for: "teacher" or "data".
    """

    def __init__(self, run_folder: Path, steps: int, source: str, console: Console | None = None) -> None:
        files, self._console = RunFolder(run_folder), console or Console()
        self._steps, self._source = steps, source
        self._log, self._metrics = Tail(files.log), Tail(files.metrics)
        self._recent: deque[Metrics] = deque(maxlen=RECENT_STEPS)
        self._is_new, self._shown_at = False, 0.0
        columns = (BarColumn(20), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("starting", total=steps)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="progress")

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._watcher.join()
        self.update(last=True)
        self._bar.stop()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.update()

    def update(self, last: bool = False) -> None:
        """Show what is new."""
        if log := self._log.read()[0].decode(errors="replace"):
            self._console.out(log, end="", highlight=False)
        self._read_metrics()
        if not (self._is_new and self._recent):
            return
        line = describe(self._recent, self._steps, self._source)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._recent[-1]["progress/step"], description=line, refresh=last)
        elif last or time.monotonic() - self._shown_at >= PLAIN_EVERY_S:
            self._console.out(line, highlight=False)
            self._shown_at = time.monotonic()
        else:
            return
        self._is_new = False

    def _read_metrics(self) -> None:
        data, is_other = self._metrics.read()
        if is_other:  # cut back, as a run does that is resumed
            self._recent.clear()
        for line in _parsed(data):
            if "progress/used" in line:
                self._recent.append(line)
                self._is_new = True


def _parsed(data: bytes) -> Iterator[Metrics]:
    for line in data.splitlines():
        with suppress(ValueError):  # damaged: whoever resumes from it will say so
            yield json.loads(line)


def describe(steps_done: Sequence[Metrics], steps: int, source: str) -> str:
    """One line about the newest of `steps_done`, of which there is one at least, and the pace of all of them."""
    waited = sum(line["time/waited_s"] for line in steps_done)
    seconds = sum(line["time/step_s"] for line in steps_done)
    tokens = sum(line["progress/tokens"] for line in steps_done)
    newest = steps_done[-1]
    loss = f"loss {newest['train/loss']:.4f}" if "train/loss" in newest else "no prompt used"
    return (
        f"step {newest['progress/step']}/{steps}  {loss}  {tokens / seconds:,.0f} tokens/s  "
        f"waited for the {source} {waited / seconds:.0%}{_ahead(newest)}"
    )


def _ahead(line: Metrics) -> str:
    """How far a worker asked ahead when the step began; empty where no teacher is asked."""
    if "pipeline/window" not in line:
        return ""
    return f"  window {line['pipeline/window']:.0f}, {line['pipeline/ready']:.0f} answers ready"
