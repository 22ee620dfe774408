"""The workers of a run: how many, which one this is, its device, and the sums they share."""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from student_trainer.settings import TrainSettings

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProcessGroup:
    """This worker among `size` workers."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Rank 0 writes files; the others compute."""
        return self.rank == 0

    def sums(self, values: dict[str, float]) -> dict[str, float]:
        """Add up `values` over all workers, in float64; every worker must call with the same keys."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def maxima(self, values: dict[str, float]) -> dict[str, float]:
        """The largest of each of `values` over all workers; every worker must call with the same keys."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def largest(self, value: float) -> float:
        """The largest `value` of all workers."""
        return self.maxima({"value": value})["value"]

    def joined(self, items: list[Item]) -> list[Item]:
        """The `items` of all workers, in the order of ranks; they are pickled."""
        if self.size == 1:
            return items
        each: list[list[Item]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(each, items)
        return [item for some in each for item in some]

    def _reduced(self, values: dict[str, float], operation: distributed.ReduceOp.RedOpType) -> dict[str, float]:
        if self.size == 1:
            return values
        each = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(each, operation)
        return dict(zip(values, each.tolist(), strict=True))

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every worker rank 0's values."""
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), 0)

    def wait_for_all(self) -> None:
        """Return when every worker has called this."""
        if self.size > 1:
            distributed.barrier()


def make_deterministic(threads: int | None) -> None:
    """Ask torch for the same bits on every run of the same build; operations that can't are warned about."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA first multiplies
    torch.use_deterministic_algorithms(True, warn_only=True)
    if threads is not None:
        torch.set_num_threads(threads)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Put every random state where it belongs at this step of this rank.

    Dropout's draws follow from (seed, step, rank) alone, so a resumed run draws what an undisturbed one would have.
    """
    state = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


def is_sharded(settings: TrainSettings, world: ProcessGroup) -> bool:
    """Whether the student is sharded; one worker has nobody to share with."""
    return settings.workers.parallelism == "fsdp" and world.size > 1
