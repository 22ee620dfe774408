"""The progress line, read from the run's metrics: step, loss, tokens/s, and how long the run waited for its source."""

import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from common.run_folder import RunFolder
from student_trainer.persistence.run_folder import Metrics, read_metrics

LOOK_EVERY_S = 0.5
PLAIN_EVERY_S = 5.0
RECENT_STEPS = 10


class ProgressLine:
    """Rewrites one line on a terminal; elsewhere prints a line every few seconds, when there is news.

    A thread of its own looks for news while the context is open. New lines of the run's log are printed above it.
    `source` is who the run waits for: "teacher" or "data".
    """

    def __init__(self, run_folder: Path, steps: int, source: str) -> None:
        self._run_folder, self._steps, self._source = run_folder, steps, source
        self._log_read = _size(RunFolder(run_folder).log)
        self._metrics_read = _size(RunFolder(run_folder).metrics)
        self._shown = ""
        self._shown_at = 0.0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="progress")

    def __enter__(self) -> "ProgressLine":
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._watcher.join()
        self.update(last=True)
        if sys.stdout.isatty() and self._shown:
            print()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.update()

    def update(self, last: bool = False) -> None:
        """Show what is new."""
        terminal = sys.stdout.isatty()
        self._print_log("\r\033[K" if terminal else "")
        if not (terminal or last) and time.monotonic() - self._shown_at < PLAIN_EVERY_S:
            return
        size = _size(RunFolder(self._run_folder).metrics)
        if size == self._metrics_read:
            return
        self._metrics_read = size
        line = describe(read_metrics(self._run_folder), self._steps, self._source)
        if line and line != self._shown:
            print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", flush=True)
            self._shown, self._shown_at = line, time.monotonic()

    def _print_log(self, clear: str) -> None:
        log = RunFolder(self._run_folder).log
        if _size(log) <= self._log_read:
            return
        with log.open() as stream:
            stream.seek(self._log_read)
            print(clear + stream.read(), end="", flush=True)
            self._log_read = stream.tell()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def describe(metrics: list[Metrics], steps: int, source: str) -> str:
    """One line about the newest step and the pace of the last few; empty before the first."""
    done = [line for line in metrics if "progress/used" in line][-RECENT_STEPS:]
    if not done:
        return ""
    waited = sum(line["time/waited_s"] for line in done)
    seconds = sum(line["time/step_s"] for line in done)
    tokens = sum(line["progress/tokens"] for line in done)
    newest = done[-1]
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
