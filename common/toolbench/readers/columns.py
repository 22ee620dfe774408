"""Rows of published data sets as ToolBench's records, whatever their columns are named and packed like.

Mirrors of ToolBench differ: a conversation is a list of turns, a struct of two lists (what `datasets` makes of a
sequence of structs) or JSON text; turns say from/value or role/content; ids may be anything; API lists may be JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.readers.toolllama import STEP_ID

FIELDS = (
    *("id", "conversations", "from", "value"),
    *("messages", "tools", "functions"),
    *("query", "query_id", "api_list"),
)
"""What a column, or a key of a turn, can be given for."""
TURN_KEYS = (("from", "value"), ("role", "content"))
"""How turns name who speaks and what is said."""

Row = Mapping[str, Any]


def parse_columns(options: list[str]) -> dict[str, str]:
    """Options of the form FIELD=COLUMN; raises UserError for another form or field."""
    columns = {}
    for option in options:
        field, _, column = option.partition("=")
        if field not in FIELDS or not column:
            raise UserError(f"got --column {option}, expected FIELD=COLUMN with one of {', '.join(FIELDS)}")
        columns[field] = column
    return columns


def to_record(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row as the record that ToolBench's own file would hold; `columns` gives other names for FIELDS.

    Raises BadRecord when a column's JSON is broken or a struct's lists differ in length.
    """
    record = {field: row[columns.get(field, field)] for field in FIELDS if columns.get(field, field) in row}
    if "conversations" in record:
        turns = _turns(_unpacked(record["conversations"], "conversations"), columns)
        return record | {"conversations": turns, "id": _id(record.get("id"), turns)}
    if "messages" in record:
        messages = _as_list(_unpacked(record["messages"], "messages"), "messages")
        return _without_nulls(record | {"messages": messages})
    if "api_list" in record:
        record["api_list"] = _unpacked(record["api_list"], "api_list")
    if isinstance(number := record.get("query_id"), str) and number.isdecimal():
        record["query_id"] = int(number)
    return record


def _unpacked(value: Any, field: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"the column for {field!r} holds text that isn't JSON ({error})") from None


def _as_list(turns: Any, field: str) -> Any:
    """A struct of lists as a list of structs; what is of another form stays, and the reader refuses it by name."""
    if not isinstance(turns, dict):
        return turns
    lengths = {len(values) for values in turns.values() if isinstance(values, list)}
    if len(lengths) != 1:
        raise BadRecord("wrong_type", f"the lists in {field!r} have {sorted(lengths)} entries, expected as many")
    return [dict(zip(turns, values, strict=True)) for values in zip(*turns.values(), strict=True)]


def _turns(turns: Any, columns: Mapping[str, str]) -> Any:
    """A list of from/value turns."""
    turns = _as_list(turns, "conversations")
    return [_turn(turn, columns) for turn in turns] if isinstance(turns, list) else turns


def _without_nulls(value: Any) -> Any:
    """`value` without the nulls by which a column of structs fills what a row lacks."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _turn(turn: Any, columns: Mapping[str, str]) -> Any:
    if not isinstance(turn, dict):
        return turn
    given = (columns.get("from", "from"), columns.get("value", "value"))
    keys = next((keys for keys in (given, *TURN_KEYS) if keys[0] in turn and keys[1] in turn), None)
    return turn if keys is None else {"from": turn[keys[0]], "value": turn[keys[1]]}


def _id(own: Any, turns: Any) -> Any:
    """The row's id where it is ToolBench's; else one with the query that the user's first turn holds."""
    if (isinstance(own, str) and STEP_ID.fullmatch(own)) or not isinstance(turns, list):
        return own
    said = [turn.get("value") for turn in turns if isinstance(turn, dict) and turn.get("from") == "user"]
    query = said[0] if said and isinstance(said[0], str) else ""
    return f"Step 1: {query.strip().removesuffix('Begin!').strip()}"
