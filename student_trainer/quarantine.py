"""Prompts that were planned and gave no example: each a line of quarantine.jsonl, so that none is lost silently."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

FILE = "quarantine.jsonl"


@dataclass(frozen=True)
class Unused:
    """A prompt without an example, and why."""

    id: str
    epoch: int
    position: int
    kind: Literal["quarantined", "cut_by_length"]
    reason: str


def append(run_folder: Path, step: int, unused: list[Unused]) -> None:
    """Append one line per prompt. Workers share the file: all lines of a step go out in a single appending write."""
    if not unused:
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"step": step} | asdict(prompt), ensure_ascii=False) + "\n" for prompt in unused)
    file = os.open(run_folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, lines.encode())
    finally:
        os.close(file)


def cut_back(run_folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which a resumed run takes again. Call it before any worker appends."""
    file = run_folder / FILE
    if not file.exists():
        return
    kept = [line for line in file.read_text(encoding="utf-8").splitlines(True) if _step(line) <= step]
    shorter = file.with_suffix(".part")
    shorter.write_text("".join(kept), encoding="utf-8")
    shorter.replace(file)


def _step(line: str) -> float:
    """The line's step; a line torn by a crash belongs to no finished step."""
    try:
        return int(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")
