"""What a command shows of errors."""

import inspect
import pickle
import pkgutil
import signal
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import common
import student_trainer
from common.errors import UserError

CRASH = """
class Bomb:
    def __del__(self):  # stands for a native thread that crashes while the interpreter is finalized
        os.abort()
bomb = Bomb()
"""


def command(body: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """A process whose command does `body`."""
    program = "import atexit, os, sys, threading, time\nfrom common.errors import UserError, run_command\n"
    program += f"{before}\ndef main(arguments):\n    {body}\nrun_command(main, ['x'])\n"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("before", ["", CRASH], ids=["", "crash"])
@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("return 0", 0, "", ""),
        ("print('done', end=''); return 5", 5, "done", ""),
        ("raise UserError(f'got {arguments}')", 2, "", "error: got ['x']\n"),
        ("raise KeyboardInterrupt", 130, "", "interrupted\n"),
        ("atexit.register(print, 'left', end=''); return 3", 3, "left", ""),
        (
            "threading.Thread(target=lambda: (time.sleep(0.2), print('late', end=''))).start(); return 4",
            4, "late", "",
        ),
    ],
)  # fmt: skip
def test_a_command_ends_with_its_code_and_words_whatever_the_interpreters_end_does(
    before: str, body: str, code: int, out: str, err: str
):
    ended = command(body, before)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, out, err)


def test_an_exit_handler_that_fails_is_shown_and_changes_nothing():
    ended = command("atexit.register(lambda: 1 // 0); return 6", CRASH)
    assert ended.returncode == 6
    assert "ZeroDivisionError" in ended.stderr


def test_a_defect_keeps_its_traceback():
    ended = command("1 // 0")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


def test_the_instrument_crashes_what_is_not_shielded():
    assert command("return 0", CRASH + "atexit.register = lambda *_: None").returncode == -signal.SIGABRT


ABSENT = ("__main__", "tail_triton", "monitors.wandb", "monitors.mlflow")
"""Modules that run when they are imported, or import what isn't installed here."""


def kinds_of_user_errors(*packages: ModuleType) -> set[type[UserError]]:
    """Every subclass of UserError that a module of `packages` defines."""
    found: set[type[UserError]] = set()
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(ABSENT):
                classes = inspect.getmembers(import_module(module.name), inspect.isclass)
                found |= {kind for _, kind in classes if issubclass(kind, UserError)}
    return found


def test_every_users_error_survives_the_way_out_of_a_worker():
    kinds = kinds_of_user_errors(common, student_trainer)
    assert {"TeacherRefused", "BadRecord", "DoesNotFit", "HandshakeError"} <= {kind.__name__ for kind in kinds}
    for kind in kinds:
        has_own = "__init__" in vars(kind)
        places = list(inspect.signature(kind).parameters) if has_own else ["message"]
        error = kind(*(f"the {place}" for place in places))
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
        assert "the message" in str(again)
