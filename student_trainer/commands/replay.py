"""`python -m student_trainer replay RUN/not_finite/step-N`: compute a step again that stopped its run.

Prints loss and gradient norm of each micro-batch, with its sequences, from the same weights and the same draws of
dropout; so the sequences at fault are found, or a remedy is tried by editing the run's config.yaml. Uses a GPU if there
is one.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import get_total_norm

from common.errors import UserError
from common.run_folder import RunFolder
from common.settings import load
from student_trainer.distributed.process_group import seed_step
from student_trainer.learning.nonfinite_dump import read_failed
from student_trainer.learning.student import load_student
from student_trainer.settings import TrainSettings


@dataclass(frozen=True)
class Replayed:
    """One micro-batch: its part of the loss, and the norm of its own gradient."""

    rank: int
    ids: list[str]
    loss: float
    grad_norm: float


def main(arguments: list[str]) -> int:
    """Print a line per micro-batch."""
    parser = argparse.ArgumentParser(prog="python -m student_trainer replay", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="RUN/not_finite/step-N")
    folder = parser.parse_args(arguments).folder
    for each in replay(folder, torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        print(f"worker {each.rank}: loss {each.loss}, gradient norm {each.grad_norm}: {', '.join(each.ids)}")
    return 0


def replay(folder: Path, device: torch.device) -> Iterator[Replayed]:
    """Compute the micro-batches in `folder` again, worker by worker. Raises UserError where there are none."""
    files = sorted(folder.glob("worker-*.pt"))
    if not files:
        raise UserError(f"no failed step is in {folder}; expected the folder that the run named when it stopped")
    settings = load(TrainSettings, RunFolder(folder.resolve().parents[1]).config)
    student = load_student(settings.student, device, settings.seed)
    student.load(folder / "student")
    for file in files:
        part = read_failed(file, device)
        seed_step(settings.seed, part.step, part.rank)
        for batch in part.batches:
            student.zero_grad()
            loss = student(batch, settings.loss, part.scale).loss
            torch.autograd.backward(loss)
            norm = get_total_norm([each.grad for each in student.trainable() if each.grad is not None])
            yield Replayed(part.rank, batch.ids, loss.item(), norm.item())
