"""What environments of foreign tools share: how an episode opens, how arguments are read, what is answered."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.agents.types import Observation, Status
from common.toolbench.functions import Record
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import offer_functions

ANSWER_CHARACTERS = 65_536
"""Characters of an answer that are kept. An episode's bounds cut further: see `BoundSettings`."""
ERROR_CHARACTERS = 300
"""Characters of an error that are told."""
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\"]+/)+")


class BadArguments(ValueError):
    """Arguments that are no JSON object; the message says why."""


def opening(query: str, functions: Sequence[Record], tools: Mapping[str, str]) -> list[Turn]:
    """The turns that an episode begins with, as rows do: `functions` of `tools` (names and descriptions) on offer."""
    return [Turn("system", offer_functions(functions, tools)), Turn("user", f"\n{query}\nBegin!\n")]


def read_arguments(text: str) -> dict[str, Any]:
    """The JSON object in an action's arguments; line breaks inside strings pass, as they do in ToolBench.

    Raises BadArguments.
    """
    try:
        given = json.loads(text, strict=False, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadArguments("the input is not JSON") from None
    if not isinstance(given, dict):
        raise BadArguments("the input is not a JSON object")
    return given


def answer(response: Any, error: str = "", default: Callable[[Any], Any] | None = None) -> str:
    """The text of an observation, cut at ANSWER_CHARACTERS; `default` as in json.dumps.

    Raises ValueError, TypeError or RecursionError where `response` has no JSON form, or one that isn't Unicode.
    """
    text = json.dumps({"error": error, "response": response}, default=default, ensure_ascii=False, allow_nan=False)
    text.encode()
    return _cut(text, ANSWER_CHARACTERS)


def failure(error: str, status: Status) -> Observation:
    """The observation of a call that failed: one line of `error`."""
    return Observation(json.dumps({"error": one_line(error), "response": ""}), status)


def no_such_function(name: str) -> Observation:
    """The observation of a call of what isn't on offer."""
    return failure(f"No such function name: {name}", Status.NO_SUCH_FUNCTION)


def one_line(text: str) -> str:
    """`text` in one line of ERROR_CHARACTERS at most; of paths of files only the last name."""
    return _cut(_FOLDERS.sub("", " ".join(text[: 10 * ERROR_CHARACTERS].split())), ERROR_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
