"""The loss's Triton kernels without a GPU: what they compute, in Triton's interpreter; and that they compile for GPUs.

Triton is no part of the CPU's environment: it is put beside it once, in the version that torch needs on CUDA.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.local.environment import REPOSITORY

TRITON = "triton==3.7.1"
CASES = "tests/unit/student_trainer/loss/kernel_cases.py"
COMPILER = "tests.unit.student_trainer.loss.compile_kernels"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def triton() -> Path:
    """The folder to import Triton from."""
    folder = Path(sys.prefix) / "beside" / TRITON
    if not folder.exists():
        draft = folder.with_name(f"{TRITON}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(draft), TRITON]
        done = subprocess.run(pip, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{TRITON} can't be installed: {done.stderr.strip().splitlines()[-1]}")
        if not folder.exists():  # else another session was faster
            draft.rename(folder)
    return folder


def run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_compute_what_torch_does(triton: Path):
    run("pytest", "-q", "-p", "no:cacheprovider", CASES, TRITON_INTERPRET="1", PYTHONPATH=str(triton))


@pytest.mark.parametrize("capability", ["80", "90", "100"])
def test_they_compile_for_a_gpu(triton: Path, tmp_path: Path, capability: str):
    """A100, H100, B200; logits are read 16 bytes at a time."""
    run(COMPILER, capability, PYTHONPATH=str(triton), TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand")
def test_they_compute_what_torch_does_on_the_gpu():
    run("pytest", "-q", "-p", "no:cacheprovider", CASES)
