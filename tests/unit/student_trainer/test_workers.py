"""Two workers in processes of their own (gloo, DDP) match one in loss and gradient, also where one has no tokens."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, multiprocessing

from student_trainer import run_folder
from student_trainer.loop import train
from student_trainer.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from student_trainer.world import World
from tests.unit.student_trainer.stand_in import StandInTeacher, connect_to, make_row
from tests.unit.student_trainer.students import ALONE, short_run

ROWS = 9
"""With batches of 4 the third step has a single row: one worker has nothing."""


def work(rank: int, settings: TrainSettings, meeting: Path) -> None:
    """One of two workers."""
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    try:
        train(settings, World(rank, 2, torch.device("cpu")), lambda metrics: None, connect_to(StandInTeacher()))
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("cut", [{"micro_batch_size": 1}, {"micro_batch_size": None, "micro_batch_tokens": 90}])
def test_two_workers_match_one(tmp_path: Path, cut: dict[str, int | None]):
    """One worker takes sequence by sequence; two may pack them."""
    rows = [make_row(number, completion="yes" * (1 + number % 3)) for number in range(ROWS)]
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 3, "max_length": 128}
    changes = {"data": data, "validate_every": 1}
    one = short_run(tmp_path, rows=rows, run_folder=tmp_path / "one", micro_batch_size=1, **changes)
    two = short_run(tmp_path, run_folder=tmp_path / "two", **changes, **cut)
    run_folder.prepare(two)
    multiprocessing.start_processes(work, (two, tmp_path / "meeting"), nprocs=2, start_method="fork")
    run_folder.prepare(one)
    train(one, ALONE, lambda metrics: None, connect_to(StandInTeacher()))

    alone, together = read_metrics(one.run_folder), read_metrics(two.run_folder)
    assert [line["progress/step"] for line in together] == [0, 1, 2, 3]
    assert together[-1]["progress/used"] == 1
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {name for name in a if name.startswith("time/")}:
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-7), name
    assert all(0 <= line["time/waited_s"] <= line["time/step_s"] for line in together[1:])
    learnt, learnt_alone = (load_file(run.run_folder / "adapter" / "adapter_model.safetensors") for run in (two, one))
    torch.testing.assert_close(learnt, learnt_alone, rtol=0, atol=1e-5)
