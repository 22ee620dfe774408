"""The functions that a prompt offers: their list read back from its text, in each form that is found.

ToolBench writes Python's `repr` of a list of `{"name", "description", "parameters"}`. Others write JSON, wrap each
function as OpenAI's `{"type": "function", "function": {…}}`, or have NaN where a value is missing.
"""

import ast
import json
from typing import Any

from common.toolbench.fields import BadRecord, take

Record = dict[str, Any]

NAMES: dict[str, Any] = dict.fromkeys(("nan", "NaN", "inf", "Infinity", "null")) | {"true": True, "false": False}
"""Names that stand for values and are no Python literals; what is no number is None, since JSON has no other word."""


def parse_functions(text: str) -> list[Record]:
    """The functions of a list written as Python or as JSON, each unwrapped.

    Raises BadRecord ("unreadable_apis") when `text` is no such list, or a function lacks its name or has parameters
    that can't be checked. So whatever this returns, `required_parameters` reads.
    """
    try:
        functions = [plain_function(entry, f"function {number}") for number, entry in enumerate(_read_list(text), 1)]
        for function in functions:
            required_parameters(function)
    except BadRecord as error:
        raise BadRecord("unreadable_apis", f"{error}") from None
    return functions


def read_tools(tools: Any) -> list[Record]:
    """The functions of OpenAI's `tools`, each unwrapped: a list, or JSON text of one, whose entries may be JSON too.

    Raises BadRecord naming the tool: also when two share a name ("duplicate_name").
    """
    tools = _from_json(tools, "tools")
    if tools is not None and not isinstance(tools, list):
        raise BadRecord("wrong_type", f"the field 'tools' holds {tools!r:.60}, expected a list of functions")
    functions: dict[str, Record] = {}
    for number, tool in enumerate(tools or []):
        place = f"tools[{number}]"
        function = plain_function(_from_json(tool, place), place)
        required_parameters(function)
        if function["name"] in functions:
            raise BadRecord("duplicate_name", f"{place} is a second function named {function['name']!r}; rename one")
        functions[function["name"]] = function
    return list(functions.values())


def plain_function(entry: Any, place: str) -> Record:
    """The function without OpenAI's wrapper; `place` says where it stands, for errors.

    Raises BadRecord ("missing_field", "wrong_type", "bad_text") when it has no name.
    """
    if isinstance(entry, dict) and "name" not in entry and "function" in entry:
        entry, place = entry["function"], f"{place}.function"
    take(entry, "name", str, place)
    return entry


def required_parameters(function: Record) -> set[str]:
    """Names of the parameters without which the function can't be called; blank names, which trees hold, are none.

    Raises BadRecord ("wrong_type") when `parameters` or its `required` is of another kind.
    """
    place = f"function {function['name']}"
    parameters = {} if function.get("parameters") is None else take(function, "parameters", dict, place)
    required = [] if parameters.get("required") is None else take(parameters, "required", list, f"{place}.parameters")
    if not all(isinstance(name, str) for name in required):
        raise BadRecord("wrong_type", f"{place}.parameters.required holds {required!r}, expected a list of names")
    return {name for name in required if name.strip()}


def _from_json(value: Any, place: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"{place} holds text that isn't JSON ({error})") from None


def _read_list(text: str) -> list[Any]:
    try:
        functions = json.loads(text, strict=False, parse_constant=NAMES.get)
    except (ValueError, RecursionError):
        functions = _read_python(text)
    if not isinstance(functions, list):
        raise BadRecord("unreadable_apis", f"got {text[:60]!r}, expected a list as Python or JSON writes it")
    return functions


def _read_python(text: str) -> Any:
    """The value of a Python literal, NAMES among its values; None where there is none."""
    try:
        tree = _Named().visit(ast.parse(text.strip(), mode="eval"))
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


class _Named(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.copy_location(ast.Constant(NAMES[node.id]), node) if node.id in NAMES else node
