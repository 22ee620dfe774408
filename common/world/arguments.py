"""Arguments of a call, read and checked against an API's parameters."""

import json
from typing import Any

from common.world.catalogue import Api, Parameter

SHOWN = 60
"""Characters of a caller's own words that an error repeats."""
_TYPES = {"STRING": str, "NUMBER": int, "BOOLEAN": bool}


class BadArguments(ValueError):
    """Arguments that the API doesn't take; the message says why."""


def read_arguments(api: Api, text: str) -> dict[str, Any]:
    """Return the arguments in the JSON text. Raises BadArguments for whatever isn't what the API takes."""
    try:
        given = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise BadArguments("the input is not JSON") from None
    if not isinstance(given, dict):
        raise BadArguments("the input is not a JSON object")
    for name in api.required_names:
        if name not in given:
            raise BadArguments(f"the required parameter {name!r} is missing")
    for name, value in given.items():
        if name not in api.parameters:
            raise BadArguments(f"there is no parameter {name[:SHOWN]!r}")
        _check(name, api.parameters[name], value)
    return given


def _check(name: str, parameter: Parameter, value: Any) -> None:
    if type(value) is not _TYPES[parameter.kind]:
        raise BadArguments(f"the parameter {name!r} must be of the type {parameter.kind}")
    if parameter.choices and value not in parameter.choices:
        raise BadArguments(f"the parameter {name!r} must be one of: {', '.join(parameter.choices)}")
    if isinstance(value, str) and not value.startswith(parameter.prefix):
        raise BadArguments(f"the parameter {name!r} must begin with {parameter.prefix}")
