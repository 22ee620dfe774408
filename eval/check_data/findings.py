"""What a check found: counted by kind, with the first examples of each, so that any data give a short report."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.toolbench.quarantine import Quarantine


@dataclass
class Findings:
    """What was read, and what is wrong with it; `left_out` is what gives no row by rule, which is no mistake."""

    most: int
    """Examples that are kept of each kind."""
    rows: int = 0
    traces: int = 0
    completions: int = 0
    """Rows that have one."""
    longest: int = 0
    """Characters of the longest row."""
    wrong: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str, message: str = "") -> None:
        """Note a mistake at `place`."""
        self.wrong[kind] += 1
        self._show(kind, f"{place}: {message}" if message else place)

    def leave_out(self, kind: str, place: str) -> None:
        """Note that what stands at `place` gives no row, by rule."""
        self.left_out[kind] += 1
        self._show(kind, place)

    def _show(self, kind: str, example: str) -> None:
        shown = self.examples.setdefault(kind, [])
        if len(shown) < self.most:
            shown.append(example)


class Collecting(Quarantine):
    """Takes down what readers refuse and leave out in `findings`, and lets them read on."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(Path(), skip_bad=True)
        self._findings = findings

    def keep(self, reason: str, details: dict[str, Any]) -> None:
        """As `Quarantine.keep`, without a file."""
        if "error" in details:
            self._findings.add(reason, details["place"], details["error"])
        else:
            self._findings.leave_out(reason, details["place"])
