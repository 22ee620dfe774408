"""What the live run on real input promised, checked against what it wrote."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cluster.demos.findings import Finding
from common.errors import UserError
from common.run_folder import RunFolder
from common.toolbench.rows import read_rows

HALF = 0.5


def ids_check(queries: Path, run: Path) -> Finding:
    """Whether each query was used or set aside exactly once per epoch."""
    epochs = yaml.safe_load(RunFolder(run).config.read_text())["epochs"]
    asked = Counter((row.id, epoch) for row in read_rows(queries) for epoch in range(epochs))
    used, set_aside = accounted(RunFolder(run).used), accounted(RunFolder(run).quarantine)
    return Finding(
        f"each of the {asked.total()} prompts once per epoch: {used.total()} used + {set_aside.total()} set aside",
        used + set_aside == asked,
    )


def kl_checks(live: Path, control: Path) -> list[Finding]:
    """The student learns the teacher's distribution, and only from distributions that belong to their completions."""
    (before, after), (control_before, control_after) = kl_of(live), kl_of(control)
    return [
        Finding(f"held-out KL fell below half: {before:.3f} → {after:.3f}", after < HALF * before),
        Finding(
            f"with distributions permuted between completions it didn't: {control_before:.3f} → {control_after:.3f}",
            control_after >= HALF * control_before,
        ),
    ]


def kl_of(run: Path) -> tuple[float, float]:
    """KL on the held-out slice before and after the run, in nats per position. Raises UserError without that slice."""
    summary = read_summary(run)
    before, after = summary["validation_before"], summary["validation_after"]
    if before is None or after is None:
        raise UserError(
            f"the run in {run} validated on nothing, expected a held-out slice: every row of it was set aside, or "
            f"data.validation is missing; see {RunFolder(run).log}"
        )
    return before["kl"], after["kl"]


def accounted(ledger: Path) -> Counter[tuple[str, int]]:
    """How often each (id, epoch) stands in a ledger of a run."""
    lines: Iterable[str] = ledger.read_text().splitlines() if ledger.exists() else ()
    entries = (json.loads(line) for line in lines)
    return Counter((entry["id"], entry["epoch"]) for entry in entries)


def read_summary(run: Path) -> dict[str, Any]:
    """The run in a few numbers."""
    return dict(json.loads(RunFolder(run).summary.read_text()))
