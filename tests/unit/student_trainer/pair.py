"""Two workers on this machine: processes that meet over gloo."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Concatenate, ParamSpec

import torch
from torch import distributed, multiprocessing

from student_trainer.distributed.process_group import ProcessGroup

P = ParamSpec("P")


def run_pair(work: Callable[Concatenate[ProcessGroup, P], None], *arguments: P.args, **_: P.kwargs) -> None:
    """Run `work` as both workers of a world of two; raises what one of them raised."""
    with TemporaryDirectory() as folder:
        multiprocessing.start_processes(
            _work, (work, Path(folder) / "meeting", arguments), nprocs=2, start_method="fork"
        )


def _work(rank: int, work: Callable[..., None], meeting: Path, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)  # a fork has none of its parent's OpenMP threads, and would wait for them for ever
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        work(ProcessGroup(rank, 2, torch.device("cpu")), *arguments)
    finally:
        distributed.destroy_process_group()
