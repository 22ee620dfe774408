"""Telling a person what a long run is doing: each step, how long it should take and how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

WIDTH = 120
"""Characters of a line where output isn't a terminal."""


class StepConsole(Console):
    """A console that numbers the steps of a run. `steps` is how many there will be."""

    def __init__(self, steps: int) -> None:
        super().__init__(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
        self._steps = steps
        self._done = 0
        self._start = time.monotonic()

    @contextmanager
    def step(self, what: str, about_s: float) -> Iterator[None]:
        """Announce a step before it runs and its duration after it."""
        self._done += 1
        self.print(f"[bold]\\[{self._done}/{self._steps}][/bold] {what} (about {duration(about_s)})", soft_wrap=True)
        start = time.monotonic()
        yield
        self.print(f"      done in {duration(time.monotonic() - start)}", style="dim")

    def end(self, summary: str) -> None:
        """Print the run's summary and how long all of it took."""
        self.print(f"{summary}. It took {duration(time.monotonic() - self._start)}.", soft_wrap=True)


def duration(seconds: float) -> str:
    """12.3 → "12 s", 95 → "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
