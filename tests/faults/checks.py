"""What must hold after every fault."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from cluster.demos.live_checks import accounted, ids_check
from student_trainer.persistence.run_folder import read_metrics

NOISE = 1e-4
"""Allowed difference of a step's loss between live runs on the vLLM teacher. Undisturbed ones had equal bits: fp32."""
OTHER_WORLD = 1e-5
"""How far runs with other numbers of workers may differ in the loss of a step."""


def check_prompts(data: Path, run: Path) -> None:
    """Every prompt was used, exactly once."""
    check = ids_check(data, run)
    assert check.holds, check.text
    assert not accounted(run / "quarantine.jsonl")


def check_same(run: Path, undisturbed: Path) -> None:
    """The adapter has the bits of the undisturbed run's."""
    assert adapter_hash(run) == adapter_hash(undisturbed)


def check_close(run: Path, undisturbed: Path, tolerance: float) -> None:
    """Each step had the loss of the undisturbed run's."""
    assert losses(run) == pytest.approx(losses(undisturbed), rel=tolerance)


def adapter_hash(run: Path) -> str:
    """SHA-256 of the finished adapter's weights."""
    return sha256((run / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()


def losses(run: Path) -> list[float]:
    """The loss of each step; a step stands there once."""
    steps = [line for line in read_metrics(run) if "train/loss" in line]
    assert [line["progress/step"] for line in steps] == list(range(1, len(steps) + 1)), json.dumps(steps)
    return [line["train/loss"] for line in steps]
