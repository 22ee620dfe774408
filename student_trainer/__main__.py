"""`python -m student_trainer COMMAND`: what the student's side can do."""

import sys
from importlib import import_module

from common.errors import UserError, run_command

COMMANDS = {
    "train": "train a student on the live teacher, its record, or recorded completions",
    "export": "write a finished student as an adapter or a whole model, ready to be served",
    "replay": "compute a step again whose loss was not finite, micro-batch by micro-batch",
    "pretrain": "make a small base model for tests and the demo",
    "fetch": "get a small pretrained model, where no model hub is needed",
}
"""Each command is a module of this package with `main(arguments) -> int`, imported when it is called."""


def main(arguments: list[str]) -> int:
    """Dispatch to the command's module."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        raise UserError(f"got the command {command!r}, expected one of: {', '.join(COMMANDS)}")
    return int(import_module(f"student_trainer.{command}").main(rest))


def _usage() -> str:
    lines = [f"  {name:10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: python -m student_trainer COMMAND ... (COMMAND --help says more)", *lines])


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
