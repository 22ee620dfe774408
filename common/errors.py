"""Errors that a person can mend, and how a command shows them: one line, no traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in what the user gave. The message says what was got, what was expected and how to fix it."""


def run_command(main: Callable[[list[str]], int], arguments: list[str] | None = None) -> None:
    """Run a command-line entry and exit with its code; a UserError becomes one line on stderr and exit code 2."""
    try:
        sys.exit(main(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
