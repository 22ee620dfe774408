"""Records that don't become rows: named, counted and kept in a file, so that nothing is dropped unseen."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord


class Quarantine:
    """Counts what is left out by reason, and writes each to `file` as one JSON line.

    Two kinds are told apart: what a converter leaves out by its own rules (`leave_out`), and records in error
    (`refuse`), which stop the conversion unless `skip_bad`.
    """

    def __init__(self, file: Path, skip_bad: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._file = file
        self._skip_bad = skip_bad

    def leave_out(self, reason: str, place: str) -> None:
        """Note that what stands at `place` gives no row, by rule."""
        self.keep(reason, {"place": place})

    def refuse(self, error: BadRecord, place: str, record: Any = None) -> None:
        """Set `record` aside for its error.

        Raises UserError naming `place` and the error when bad records aren't to be skipped.
        """
        if not self._skip_bad:
            raise UserError(f"{place}: {error}; mend it, or leave such records out with --skip-bad") from None
        self.keep(error.reason, {"place": place, "error": str(error), "record": record})

    def keep(self, reason: str, details: dict[str, Any]) -> None:
        """Count one, and write its `place`, and of a record in error `error` and `record`, to the file."""
        self.counts[reason] += 1
        with self._file.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps({"reason": reason} | details, ensure_ascii=False, default=str) + "\n")
