"""What a command shows of errors."""

import pytest

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
