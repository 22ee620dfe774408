"""One prompt's way from the data to the loss: which files it enters, and which classes carry it.

`python -m tests.live_path` prints both. A run of one step on one row, with the stand-in teacher in place of the HTTP
client, is profiled: each thread from where it meets the prompt, up to the loss.
"""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from common.render import Renderer
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.stand_in import TOKENIZER, StandInTeacher, connect_to, make_row
from tests.unit.student_trainer.students import ALONE, short_run

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("common", "student_trainer")
BEGINS = {("call", "_build"), ("return", "_take")}
"""Where a thread meets the prompt: one reads it and builds its example, the other is handed the step that it is in."""
ENDS = "loss_sums"
"""Where its way ends: the loss of its micro-batch is computed."""
ROW = make_row(0, completion="Thought: yes", query="is this the way of a prompt?")


@dataclass
class Walk:
    """What a prompt met, in the order in which it did."""

    needles: list[list[int]]
    """Token ids by which its data are known."""
    files: dict[str, None] = field(default_factory=dict)
    carriers: dict[str, None] = field(default_factory=dict)
    _threads: set[int] = field(default_factory=set)
    """Those that have met the prompt."""
    _ended: bool = False

    def profile(self, frame: FrameType, event: str, result: Any) -> None:
        """What `sys.setprofile` calls."""
        file = Path(frame.f_code.co_filename)
        if self._ended or not file.is_relative_to(ROOT) or file.relative_to(ROOT).parts[0] not in FOLDERS:
            return
        name, thread = frame.f_code.co_name, threading.get_ident()
        if (event, name) in BEGINS:
            self._threads.add(thread)
        if thread not in self._threads:
            return
        if event == "call":
            self.files[str(file.relative_to(ROOT))] = None
            self._note(frame.f_locals.values())
            self._ended = name == ENDS
        elif event == "return":
            self._note([result])

    def _note(self, values: Any) -> None:
        for value in values:
            for carrier in _classes(value, self.needles):
                self.carriers[carrier] = None


def walk(settings: TrainSettings) -> Walk:
    """The way of the only row of `settings`."""
    sequence = Renderer(TOKENIZER, settings.data.template, settings.data.max_length).sequence(ROW)
    found = Walk([list(sequence.prompt_ids), list(sequence.completion_ids)])
    run_folder.prepare(settings)
    threading.setprofile(found.profile)
    sys.setprofile(found.profile)
    try:
        train(settings, ALONE, connect_to(StandInTeacher()))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def one_prompt(folder: Path) -> TrainSettings:
    """Settings of a run of one step on one row."""
    completion = {"writer": {"dataset": 1.0}}
    return short_run(folder, rows=[ROW], batch_size=1, epochs=1, max_steps=1, completion=completion)


def _classes(value: Any, needles: list[list[int]]) -> Iterator[str]:
    """Classes of ours in `value` that hold the prompt: its text or a run of its ids, at any depth."""
    kind = type(value)
    parts = _parts(value)
    if parts is None:
        return
    if kind.__module__.split(".")[0] in FOLDERS and _holds(value, needles):
        yield kind.__qualname__
    for part in parts:
        yield from _classes(part, needles)


def _holds(value: Any, needles: list[list[int]]) -> bool:
    if isinstance(value, str):
        return ROW.query in value
    if isinstance(value, np.ndarray | torch.Tensor):
        value = value.flatten().tolist()
    if isinstance(value, list | tuple) and value and isinstance(value[0], int):
        return any(_contains(list(value), needle) for needle in needles)
    return any(_holds(part, needles) for part in _parts(value) or ())


def _contains(ids: list[int], needle: list[int]) -> bool:
    return any(ids[at : at + len(needle)] == needle for at in range(len(ids) - len(needle) + 1))


def _parts(value: Any) -> list[Any] | None:
    """What a record or a sequence of records holds; None for everything else."""
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in fields(value)]
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, list | tuple) and len(value) <= 64:
        return list(value)
    return None


def main() -> None:
    """Print the files and the carriers."""
    with TemporaryDirectory() as folder:
        found = walk(one_prompt(Path(folder)))
    for title, names in (("files", found.files), ("carriers", found.carriers)):
        print(f"{len(names)} {title}:", *names, sep="\n  ")


if __name__ == "__main__":
    main()
