"""The tools of an MCP server as a prompt offers them. What a server says of itself is text that is shown, never obeyed.

Schemas are shown and never compiled: of what they ask, types, enumerations and required names of arguments are checked
here, and the server judges the rest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from common.toolbench.functions import Record
from common.toolbench.names import function_name, standardize
from common.toolbench.system_prompt import DESCRIPTION_LIMIT

MOST_TOOLS = 128
MOST_BYTES = 65_536
"""Of all functions that a server offers, as JSON."""
MOST_DEPTH = 16
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@dataclass(frozen=True)
class Listing:
    """What a server told: its instructions, and its tools, as records of name, description and inputSchema."""

    instructions: str
    tools: Sequence[Record]

    @property
    def sha256(self) -> str:
        """Hash of all of it, in whatever order it lists its tools."""
        tools = sorted(json.dumps(tool, sort_keys=True) for tool in self.tools)
        return hashlib.sha256(json.dumps([self.instructions, tools]).encode()).hexdigest()


@dataclass(frozen=True)
class ServerTool:
    """A tool of a server."""

    server: str
    name: str
    """Its own."""
    schema: Record
    """Of its arguments, as the server tells it."""
    offer: Record
    """The function by which a prompt offers it, in ToolBench's form."""


def offered_tools(server: str, listing: Listing) -> list[ServerTool]:
    """The tools that `server` lists. Raises UserError where they are too many, or too large, for a prompt."""
    if not 0 < len(listing.tools) <= MOST_TOOLS:
        raise UserError(f"the MCP server {server} lists {len(listing.tools)} tools, expected 1 to {MOST_TOOLS}")
    tools = [_offered(server, tool) for tool in listing.tools]
    size = len(json.dumps([tool.offer for tool in tools]))
    if size > MOST_BYTES:
        raise UserError(f"the tools of the MCP server {server} take {size} bytes, expected {MOST_BYTES} at most")
    return tools


def problem(schema: Record, arguments: Record) -> str:
    """What is wrong with `arguments`, or nothing."""
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in arguments:
            return f"the required parameter {name!r} is missing"
    for name, value in arguments.items():
        parameter = properties.get(name)
        if parameter is None and schema.get("additionalProperties") is False:
            return f"there is no parameter {name!r}"
        if isinstance(parameter, dict) and not _fits(parameter, value):
            asked = parameter.get("enum") or parameter.get("type")
            return f"the parameter {name!r} must be of {asked}"
    return ""


def _offered(server: str, tool: Record) -> ServerTool:
    schema = tool["inputSchema"]
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    named = isinstance(required, list) and all(isinstance(each, str) for each in required)
    if not (named and isinstance(properties, dict) and _depth(schema) <= MOST_DEPTH):
        raise UserError(
            f"the tool {tool['name']!r} of the MCP server {server} has a schema that can't be offered: properties that "
            f"are no object, required that are no list of names, or more than {MOST_DEPTH} levels; mend it there"
        )
    description = f'This is the subfunction for tool "{standardize(server)}", you can use this tool.'
    if own := (tool.get("description") or "").strip():
        description += f'The description of this function is: "{own[:DESCRIPTION_LIMIT]}"'
    parameters = {
        "type": "object",
        "properties": _shortened(properties),
        "required": [name for name in properties if name in required],
        "optional": [name for name in properties if name not in required],
    }
    if "$defs" in schema:
        parameters["$defs"] = _shortened(schema["$defs"])
    offer = {"name": function_name(tool["name"], server), "description": description, "parameters": parameters}
    return ServerTool(server, tool["name"], schema, offer)


def _fits(parameter: Record, value: Any) -> bool:
    """Whether `value` is of the type and among the values that `parameter` asks for, where it names them plainly."""
    if isinstance(values := parameter.get("enum"), list) and value not in values:
        return False
    asked = parameter.get("type")
    names = [asked] if isinstance(asked, str) else asked if isinstance(asked, list) else []
    return not names or any(_is(name, value) for name in names)


def _is(name: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return name == "boolean" or name not in _TYPES
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return isinstance(whole, _TYPES.get(str(name), (object,)))


def _depth(schema: Any) -> int:
    inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else None
    return 0 if inside is None else 1 + max(map(_depth, inside), default=0)


def _shortened(schema: Any) -> Any:
    """`schema` with the descriptions in it cut as ToolBench cuts them."""
    if isinstance(schema, list):
        return [_shortened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value[:DESCRIPTION_LIMIT] if key == "description" and isinstance(value, str) else _shortened(value)
        for key, value in schema.items()
    }
