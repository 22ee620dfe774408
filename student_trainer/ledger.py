"""The ledger: what became of every planned prompt, so that none is lost or used twice unseen.

`used.jsonl` names the prompts that a step trained on, `quarantine.jsonl` those that gave no example, and why. Every
worker appends to both.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from student_trainer.examples import Example

USED = "used.jsonl"
QUARANTINE = "quarantine.jsonl"


Kind = Literal["does_not_fit", "refused", "bad_answer", "failed", "cut_by_length"]
"""Why a prompt gave no example: too long for the run, the teacher's own word, its answers could not be used, no answer
while others got one, a completion without an end."""
UNANSWERED: tuple[Kind, ...] = ("refused", "bad_answer", "failed")
"""Kinds that are the teacher's doing."""


@dataclass(frozen=True)
class Unused:
    """A prompt without an example, and why."""

    id: str
    epoch: int
    position: int
    kind: Kind
    reason: str


def append_used(run_folder: Path, step: int, examples: list[Example]) -> None:
    """Write down the prompts that `step` trained on."""
    entries = [
        {"id": example.sequence.id, "epoch": example.epoch, "position": example.position} for example in examples
    ]
    _append(run_folder / USED, step, entries)


def append_unused(run_folder: Path, step: int, unused: list[Unused]) -> None:
    """Write down the prompts that were planned for `step` and gave no example."""
    _append(run_folder / QUARANTINE, step, [asdict(prompt) for prompt in unused])


def cut_back(run_folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which a resumed run takes again. Call it before any worker appends."""
    for file in (run_folder / USED, run_folder / QUARANTINE):
        if file.exists():
            kept = [line for line in file.read_text(encoding="utf-8").splitlines(True) if _step(line) <= step]
            shorter = file.with_suffix(".part")
            shorter.write_text("".join(kept), encoding="utf-8")
            shorter.replace(file)


def _append(file: Path, step: int, entries: list[dict[str, Any]]) -> None:
    """All entries go out in a single appending write, since workers share the file."""
    if not entries:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"step": step, **entry}, ensure_ascii=False) + "\n" for entry in entries)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)


def _step(line: str) -> float:
    """The line's step; a line torn by a crash belongs to no finished step."""
    try:
        return int(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")
