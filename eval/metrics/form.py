"""Form of written completions: shares of those that pass each check."""

from collections.abc import Iterable

from common.toolbench.react import ParseError, parse_step

CHECKS = {
    "parses": "parses",
    "names_offered_api": "offered API",
    "arguments_are_json": "JSON",
    "required_present": "required",
    "valid": "valid",
}
"""Fields of `common.quality.completions.FormatReport` that are reported, each with its heading in tables."""


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
