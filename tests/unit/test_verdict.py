"""What a test session exits with, when its end goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "tests/unit/common/teacher_client/test_circuit_breaker.py"
ABORTS = """
import ctypes
ctypes.pythonapi.Py_AtExit(ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p))
"""
FAILS = """
def pytest_unconfigure(config):
    raise RuntimeError("pytest's own end")
"""


@pytest.mark.parametrize(
    ("plugin", "chosen", "code"),
    [
        pytest.param(ABORTS, [PASSES], 0, id="the interpreter crashes after tests that passed"),
        pytest.param(ABORTS, [PASSES, "-k", "no_such_test"], pytest.ExitCode.NO_TESTS_COLLECTED, id="or after none"),
        pytest.param(FAILS, [PASSES], 1, id="pytest itself fails"),
    ],
)
def test_a_session_exits_with_its_verdict(plugin: str, chosen: list[str], code: int, tmp_path: Path):
    (tmp_path / "ends_badly.py").write_text(plugin)
    command = [sys.executable, "-m", "pytest", "-p", "ends_badly", "-p", "no:cacheprovider", *chosen]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code, ended.stdout + ended.stderr
