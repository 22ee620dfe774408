"""What a command shows of errors."""

import inspect
import pickle
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import common
import student_trainer
from common.errors import UserError, run_command


def test_a_users_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]):
    def main(arguments: list[str]) -> int:
        raise UserError(f"got {arguments}")

    with pytest.raises(SystemExit) as stop:
        run_command(main, ["x"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: got ['x']\n"


def test_an_interrupt_is_exit_code_130():
    def main(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_command(main, [])
    assert stop.value.code == 130


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda arguments: 1 // 0, [])


def test_the_exit_code_is_mains():
    with pytest.raises(SystemExit) as stop:
        run_command(lambda arguments: 5, [])
    assert stop.value.code == 5


def kinds_of_user_errors(*packages: ModuleType) -> set[type[UserError]]:
    """Every subclass of UserError that a module of `packages` defines."""
    found: set[type[UserError]] = set()
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "tail_triton")):  # of which one runs, and one needs a GPU's build
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
