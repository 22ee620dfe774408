"""`python -m student_trainer COMMAND`: what the student's side can do."""

from common.command_line import dispatch
from common.errors import run_command

COMMANDS = {
    "train": (
        "student_trainer.commands.train:main",
        "train a student on the live teacher, its record, or recorded completions",
    ),
    "export": (
        "student_trainer.commands.export:main",
        "write a finished student as an adapter or a whole model, ready to be served",
    ),
    "replay": (
        "student_trainer.commands.replay:main",
        "compute a step again whose loss was not finite, micro-batch by micro-batch",
    ),
    "pretrain": ("student_trainer.commands.pretrain:main", "make a small base model for tests and the demo"),
    "fetch": ("student_trainer.commands.fetch:main", "get a small pretrained model, where no model hub is needed"),
}


def main(arguments: list[str]) -> int:
    """Call the command."""
    return dispatch("python -m student_trainer", COMMANDS, arguments)


if __name__ == "__main__":
    run_command(main)
