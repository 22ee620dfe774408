"""One call of a function: arguments checked, what it returns or raises as the text and status of an observation.

Whatever a function does short of ending its process, there is an answer.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from common.agents.environments.answers import answer, failure
from common.agents.environments.function_calls.description import DescribedFunction
from common.agents.types import Observation, Status

PROBLEMS_TOLD = 3
log = logging.getLogger(__name__)


class Called(NamedTuple):
    """What a function returned, or the observation that says why it didn't."""

    value: Any
    failure: Observation | None = None


def call(function: DescribedFunction, arguments: dict[str, Any], runner: asyncio.Runner) -> Observation:
    """Call `function` with `arguments`, values as JSON has them; one that is async runs on the loop of `runner`."""
    try:
        checked = function.arguments.validate_json(json.dumps(arguments), strict=True)
    except ValidationError as error:
        return failure(_problems(error), Status.BAD_INPUT)
    value, failed = _run(function, checked, runner)
    return failed or _told(function, value)


def _run(function: DescribedFunction, arguments: dict[str, Any], runner: asyncio.Runner) -> Called:
    try:
        value = function.call(**arguments)
        return Called(runner.run(value) if inspect.iscoroutine(value) else value)
    except (SystemExit, KeyboardInterrupt):
        return Called(None, failure(f"{function.name} wanted to end its process", Status.SENDING_FAILED))
    except Exception as error:  # whatever a tool raises, the agent observes it and the episode goes on
        log.debug("%s raised", function.name, exc_info=True)
        return Called(None, failure(f"{type(error).__name__}: {_message(error)}", Status.ERROR_IN_MESSAGE))


def _told(function: DescribedFunction, value: Any) -> Observation:
    try:
        if function.returns is not None:
            function.returns.validate_python(value, strict=True)
        text = answer(value, default=_plain)
    except ValidationError as error:
        why = f"{function.name} returned {type(value).__name__}, which isn't what it says: {_problems(error)}"
        return failure(why, Status.ERROR_IN_MESSAGE)
    except (TypeError, ValueError, RecursionError) as error:
        why = f"{function.name} returned {type(value).__name__}, which JSON has no form for: {error}"
        return failure(why, Status.ERROR_IN_MESSAGE)
    return Observation(text, Status.OK)


def _plain(value: object) -> Any:
    """Models, dataclasses, enumerations, dates and the like as JSON has them."""
    if isinstance(value, Iterator):
        raise TypeError(f"{type(value).__name__} may never end")
    return to_jsonable_python(value)


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)[:PROBLEMS_TOLD]
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}".removeprefix(": ") for each in problems)


def _message(error: Exception) -> str:
    """What `error` says, if it can be asked."""
    try:
        return str(error)
    except Exception:  # `__str__` of a tool's own class may raise anything; the observation goes without it
        log.debug("an error of the class %s can't be shown", type(error).__name__, exc_info=True)
        return ""
