"""Form of written completions: shares of those that pass each check."""

from collections.abc import Iterable

from common.toolbench.react import ParseError, parse_step

CHECKS = ("parses", "names_offered_api", "arguments_are_json", "required_present", "valid")
"""Fields of `common.format_checks.FormReport` that are reported."""


def same_action(recorded: str, written: str) -> bool:
    """Whether both completions name the same function."""
    try:
        return parse_step(recorded).action == parse_step(written).action
    except ParseError:
        return False


def share(passed: Iterable[bool]) -> float:
    """The share of those that are true; of none it is undefined, a ZeroDivisionError."""
    values = list(passed)
    return sum(values) / len(values)
