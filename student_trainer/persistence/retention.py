"""Which checkpoints are kept, by when they were made and by what was measured after them."""

import json
from typing import Literal

from student_trainer.persistence.storage import MANIFEST, Storage


def prune(storage: Storage, newest: int, keep: int, keep_best: int) -> None:
    """Remove all checkpoints but the last `keep` up to `newest`, the `keep_best` of least validation loss, and the best
    by format.

    Later ones were passed over as damaged when the run was resumed; those without a manifest never became whole.
    """
    steps = storage.steps()
    whole = [step for step in steps if step <= newest and storage.read(step, MANIFEST) is not None]
    losses = _measured(storage, whole, "validation_loss")
    best = sorted(losses, key=lambda step: (losses[step], -step))[:keep_best]
    kept = {*whole[:keep], *best, *by_format(storage, whole)[:1]}
    for step in steps:
        if step not in kept:
            storage.remove(step)


def by_format(storage: Storage, steps: list[int] | None = None) -> list[int]:
    """Those of `steps`, or of all, after which the watchdog looked: the best first, of equal ones the newest."""
    scores = _measured(storage, storage.steps() if steps is None else steps, "format_score")
    return sorted(scores, key=lambda step: (scores[step], step), reverse=True)


def _measured(
    storage: Storage, steps: list[int], measure: Literal["validation_loss", "format_score"]
) -> dict[int, float]:
    """The `measure` of those steps that have it."""
    values = {step: _read(storage, step).get(measure) for step in steps}
    return {step: value for step, value in values.items() if value is not None}


def _read(storage: Storage, step: int) -> dict[str, float]:
    try:
        return dict(json.loads(storage.read(step, "state.json") or "{}"))
    except ValueError:  # damaged: the next to resume from it will say so
        return {}
