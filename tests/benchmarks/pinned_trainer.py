"""A trainer in a process of its own, whose steps are timed; as a program: one JSON object in, one out.

`python -m tests.benchmarks.pinned_trainer JOB.json ANSWER.json`, started on the core it is to have. JOB holds the
settings of a run, and whether the teacher is asked `ahead`; ANSWER is what `train` returns.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from common import wire
from common.api import DistillRequest, TeacherCard
from common.teacher_client.pool import connect_http
from common.teacher_client.protocol import Teacher
from common.teacher_client.settings import TeacherClientSettings
from student_trainer import loop
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import train_step
from student_trainer.persistence import run_folder
from student_trainer.settings import TrainSettings
from tests.benchmarks.workload import ROW

Steps = dict[str, list[float]]


class OnDemand:
    """A teacher that gets a step's questions when the step waits for them, however many were begun before.

    Rows pass in the order in which they come, `batch_size` for each step; what is asked again passes at once. Made in
    the event loop where it is asked.
    """

    def __init__(self, teacher: Teacher, batch_size: int) -> None:
        self._teacher, self._batch_size = teacher, batch_size
        self._loop, self._places = asyncio.get_running_loop(), asyncio.Semaphore(batch_size)
        self._passed: set[str] = set()

    async def teacher(self) -> TeacherCard:
        return await self._teacher.teacher()

    async def distill(self, request: DistillRequest) -> list[wire.TeacherAnswer]:
        (sequence,) = request.sequences
        if sequence.id.startswith(ROW) and sequence.id not in self._passed:  # the handshake's own questions pass
            await self._places.acquire()
            self._passed.add(sequence.id)
        return await self._teacher.distill(request)

    def next_step(self) -> None:
        """Let the next step's questions pass; called by the thread that trains."""
        for _ in range(self._batch_size):
            self._loop.call_soon_threadsafe(self._places.release)


def train(settings: TrainSettings, ahead: bool) -> Steps:
    """Train by the project's own loop. Seconds of every step but the first: of all of it, and of waiting.

    With `ahead` the source asks as far ahead as it likes; without, nothing is asked while the student computes. No row
    may come twice.
    """
    ends: list[float] = []
    waits: list[float] = []
    gates: list[OnDemand] = []

    def timed(learner: Any, examples: Any, *rest: Any) -> dict[str, float]:
        waits.append(examples.waited_s)
        metrics = train_step(learner, examples, *rest)
        ends.append(time.perf_counter())
        for gate in gates:
            gate.next_step()
        return metrics

    @asynccontextmanager
    async def connect(settings_of_teacher: TeacherClientSettings, url: str) -> AsyncIterator[Teacher]:
        async with connect_http(settings_of_teacher, url) as teacher:
            if ahead:
                yield teacher
            else:
                gates.append(OnDemand(teacher, settings.batch_size))
                yield gates[0]

    run_folder.prepare(settings)
    with patch.object(loop, "train_step", timed):
        loop.train(settings, ProcessGroup(0, 1, torch.device("cpu")), connect)
    steps = [end - begin for begin, end in pairwise(ends)]
    return {"step": steps, "waited": waits[1:]}


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    answer = train(TrainSettings.model_validate(job["settings"]), job["ahead"])
    Path(sys.argv[2]).write_text(json.dumps(answer))
