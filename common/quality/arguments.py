"""Arguments of two calls compared: as JSON objects whose spelling doesn't matter."""

import re
import unicodedata
from decimal import Decimal
from typing import Any

from common.toolbench.react import read_object

NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
Schema = dict[str, Any]


def same_arguments(recorded: str, written: str, function: Schema) -> bool:
    """Whether two action inputs are JSON objects that mean the same to `function`, an entry of a prompt's list.

    Equal are:
    - objects whatever the order of their keys, lists in their order, white space between them aside;
    - numbers of one value: `1`, `1.0` and `1e0`; never `1` and `true`;
    - strings that differ in white space alone (none at the ends, runs as one space) or in Unicode's form (NFC); their
      case and punctuation count;
    - a string and a number or boolean that the parameter's declared type reads alike: `"5"` and `5`, whether it is
      declared `string` or `integer`; without a declared type they differ;
    - a parameter left out and one given with the `default` of its schema. ToolBench's `example_value` is no default.

    Whatever can't be read is equal to nothing, not even to itself.
    """
    ours, theirs = read_object(recorded), read_object(written)
    if ours is None or theirs is None:
        return False
    schema = function.get("parameters") or {}
    try:
        return bool(_normal(ours, schema) == _normal(theirs, schema))
    except RecursionError:
        return False


def _normal(value: Any, schema: Any) -> Any:
    """`value` in the one spelling of all that mean the same; booleans tagged, since Python holds True for 1."""
    schema = schema if isinstance(schema, dict) else {}
    kind = schema.get("type")
    if isinstance(value, dict):
        return _normal_object(value, schema)
    if isinstance(value, list):
        return [_normal(each, schema.get("items")) for each in value]
    if isinstance(value, str):
        return _normal_text(value, kind)
    if isinstance(value, bool):
        return ("true" if value else "false") if kind == "string" else (value,)
    if isinstance(value, int | float):
        return str(value) if kind == "string" else Decimal(str(value))
    return value


def _normal_object(value: Schema, schema: Schema) -> Schema:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    defaults = {
        name: each["default"] for name, each in properties.items() if isinstance(each, dict) and "default" in each
    }
    return {name: _normal(each, properties.get(name)) for name, each in (defaults | value).items()}


def _normal_text(text: str, kind: Any) -> Any:
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if kind in ("integer", "number") and NUMBER.fullmatch(text):
        return Decimal(text)
    return (text == "true",) if kind == "boolean" and text in ("true", "false") else text
