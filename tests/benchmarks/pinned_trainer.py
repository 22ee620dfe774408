"""A trainer in a process of its own, whose steps are timed; as a program: one JSON object in, one out.

`python -m tests.benchmarks.pinned_trainer JOB.json ANSWER.json`, started on the core it is to have. JOB holds the
settings of a run, and whether the teacher is asked `ahead`; ANSWER is what `train` returns.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch

import torch

from common import wire
from common.api import DistillRequest, TeacherCard
from common.client import TeacherClient
from student_trainer import loop, run_folder, sources
from student_trainer.settings import TeacherSettings, TrainSettings
from student_trainer.world import World
from tests.benchmarks.workload import ROW

Steps = dict[str, list[float]]
Step = Callable[..., dict[str, float]]


class OnDemand:
    """A teacher that gets a step's questions when the step waits for them, however many were begun before.

    Requests pass in the order in which they come, `batch_size` for each step.
    """

    def __init__(self, teacher: TeacherClient, batch_size: int) -> None:
        self._teacher, self._batch_size = teacher, batch_size
        self._places = asyncio.Semaphore(batch_size)

    async def __aenter__(self) -> "OnDemand":
        self._loop = asyncio.get_running_loop()
        await self._teacher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._teacher.__aexit__(kind, error, trace)

    async def teacher(self) -> TeacherCard:
        return await self._teacher.teacher()

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        if request.sequences[0].id.startswith(ROW):  # the handshake's own questions pass
            await self._places.acquire()
        return await self._teacher.distill(request)

    def next_step(self) -> None:
        """Let the next step's questions pass; called by the thread that trains."""
        for _ in range(self._batch_size):
            self._loop.call_soon_threadsafe(self._places.release)


def train(settings: TrainSettings, ahead: bool) -> Steps:
    """Train by the project's own loop. Seconds of every step but the first: of all of it, and of waiting.

    With `ahead` the source asks as far ahead as it likes; without, nothing is asked while the student computes.
    """
    ends: list[float] = []
    waits: list[float] = []
    gates: list[OnDemand] = []
    train_step: Step = loop.train_step

    def timed(learner: Any, examples: Any, *rest: Any) -> dict[str, float]:
        waits.append(examples.waited_s)
        metrics = train_step(learner, examples, *rest)
        ends.append(time.perf_counter())
        for gate in gates:
            gate.next_step()
        return metrics

    def connect(teacher: TeacherSettings) -> Any:
        client = sources.connect(teacher)
        if ahead:
            return client
        gates.append(OnDemand(client, settings.batch_size))
        return gates[0]

    run_folder.prepare(settings)
    with patch.object(loop, "train_step", timed):
        loop.train(settings, World(0, 1, torch.device("cpu")), lambda *_: None, connect)
    steps = [end - begin for begin, end in pairwise(ends)]
    return {"step": steps, "waited": waits[1:]}


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    answer = train(TrainSettings.model_validate(job["settings"]), job["ahead"])
    Path(sys.argv[2]).write_text(json.dumps(answer))
