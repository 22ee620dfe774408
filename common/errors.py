"""Errors that a person can mend, how a command shows them, in one line without a traceback, and how it ends."""

import atexit
import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in what the user gave. The message says what was got, what was expected and how to fix it."""


def run_command(main: Callable[[list[str]], int], arguments: list[str] | None = None) -> None:
    """Run a command-line entry and exit with its code; a UserError becomes one line on stderr and exit code 2."""
    ended: list[int] = []
    keep_exit_code(lambda: ended[0] if ended else None)
    try:
        ended.append(main(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        ended.append(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        ended.append(130)
    sys.exit(ended[0])


def keep_exit_code(code: Callable[[], int | None]) -> None:
    """Let this process end with `code()`, whatever the interpreter's end does; as usual where that is None.

    Threads of native libraries outlive their Python (Ray's client of its control store, Arrow's, vLLM's) and may crash
    a process that is finalized under them: a job that did its work would count as failed. So the process leaves without
    being finalized, once its threads and the exit handlers that were registered after this have run. Call it first.
    """
    atexit.register(_leave, code)


def _leave(code: Callable[[], int | None]) -> None:
    number = code()
    if number is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(number)
