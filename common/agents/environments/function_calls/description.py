"""Python functions as a prompt offers them: names, types and descriptions from signature and docstring.

pydantic writes the JSON schema of the arguments and checks them against it; docstring_parser reads docstrings in the
styles of Google, numpy and Sphinx.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NotRequired

import docstring_parser
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from common.errors import UserError
from common.toolbench.functions import Record
from common.toolbench.names import FUNCTION_NAME_LIMIT, identifier
from common.toolbench.system_prompt import DESCRIPTION_LIMIT

Function = Callable[..., Any]
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_REFERENCE = "$ref"
_SAYS_NOTHING: tuple[tuple[str, Any], ...] = (("additionalProperties", False), ("default", None))
_new_typed_dict: Any = TypedDict
"""As a plain function, since type checkers want the fields of a TypedDict spelled out."""


@dataclass(frozen=True)
class DescribedFunction:
    """A function and what a prompt and a caller need to know of it, each found out when it is first wanted."""

    call: Function
    name: str
    """By which prompts offer it."""
    signature: inspect.Signature

    @cached_property
    def offer(self) -> Record:
        """Its name, description and parameters in ToolBench's form. Raises UserError for types without JSON form."""
        docstring = docstring_parser.parse(inspect.getdoc(self.call) or "")
        told = {each.arg_name: each.description or "" for each in docstring.params}
        parameters = _parameters(self, told)
        return {"name": self.name, "description": _cut(docstring.short_description), "parameters": parameters}

    @cached_property
    def arguments(self) -> TypeAdapter[dict[str, Any]]:
        """Checks arguments, and makes them what the annotations say. Raises UserError as `offer`."""
        parameters = self.signature.parameters.values()
        fields = {
            each.name: each.annotation if each.default is each.empty else NotRequired[each.annotation]
            for each in parameters
        }
        try:
            kind = _new_typed_dict("arguments", fields)
            kind.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
            return TypeAdapter(kind)
        except (PydanticUserError, TypeError) as error:
            raise UserError(_no_form(self.name, error)) from None

    @cached_property
    def returns(self) -> TypeAdapter[Any] | None:
        """Checks what it returns; None where there is no annotation that can be checked."""
        annotation = self.signature.return_annotation
        if annotation is inspect.Signature.empty:
            return None
        try:
            return TypeAdapter(annotation)
        except PydanticUserError:
            return None

    def prepare(self) -> None:
        """Build the checks of calls now, rather than at the first one."""
        _ = self.arguments, self.returns


class _Schema(GenerateJsonSchema):
    """JSON schema without titles; an optional parameter is shown as one of its type, which may be left out."""

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def describe_function(function: Function) -> DescribedFunction:
    """Describe `function`: a plain one, an async one, or a method of an object.

    Raises UserError, with its name, where it takes what can't be given by name, or what has no annotation.
    """
    own_name = getattr(function, "__name__", "")
    name = identifier(own_name)[-FUNCTION_NAME_LIMIT:]
    if not callable(function) or not name:
        raise UserError(f"got the tool {function!r}, expected a function with a name; define it with def")
    return DescribedFunction(function, name, _signature(function, own_name))


def resolve_annotations(function: Function) -> None:
    """Put types in place of annotations that are text: its own process lacks the names that they stand for."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(plain):
        return
    resolved = inspect.signature(plain, eval_str=True)
    annotations = {name: each.annotation for name, each in resolved.parameters.items()}
    annotations["return"] = resolved.return_annotation
    plain.__annotations__ = {name: kind for name, kind in annotations.items() if kind is not inspect.Parameter.empty}


def _signature(function: Function, name: str) -> inspect.Signature:
    try:
        signature = inspect.signature(function, eval_str=True)
    except (TypeError, ValueError, NameError, AttributeError, SyntaxError) as error:
        raise UserError(f"the signature of the tool {name} can't be read: {error}") from None
    for parameter in signature.parameters.values():
        if parameter.kind not in BY_NAME:
            raise UserError(f"the tool {name} takes {parameter}, expected parameters that are given by name")
        if parameter.annotation is parameter.empty:
            raise UserError(f"the parameter {parameter.name} of the tool {name} has no type; annotate it")
    return signature


def _no_form(name: str, error: Exception) -> str:
    why = str(error).split("\n", 1)[0]
    return f"a parameter of the tool {name} has a type that JSON has no form for; use plain types or models ({why})"


def _parameters(function: DescribedFunction, told: Mapping[str, str]) -> Record:
    try:
        schema = function.arguments.json_schema(schema_generator=_Schema)
    except PydanticUserError as error:
        raise UserError(_no_form(function.name, error)) from None
    properties = _inlined(schema.get("properties", {}), schema.get("$defs", {}), function.name)
    parameters = function.signature.parameters
    for parameter, shown in properties.items():
        first = {"type": shown.get("type"), "description": _cut(told.get(parameter) or shown.get("description"))}
        properties[parameter] = {key: value for key, value in (first | shown | first).items() if value is not None}
        default = parameters[parameter].default
        if isinstance(default, str | int | float):
            properties[parameter]["example_value"] = default
    required = [each for each in properties if parameters[each].default is inspect.Parameter.empty]
    optional = [each for each in properties if each not in required]
    return {"type": "object", "properties": properties, "required": required, "optional": optional}


def _cut(description: str | None) -> str:
    return " ".join((description or "").split())[:DESCRIPTION_LIMIT]


def _inlined(schema: Any, definitions: Record, name: str, inside: tuple[str, ...] = ()) -> Any:
    """`schema` with definitions in place of references to them, and without what a prompt has no use for."""
    if isinstance(schema, list):
        return [_inlined(each, definitions, name, inside) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if _REFERENCE in schema:
        target = str(schema[_REFERENCE]).rpartition("/")[2]
        if target in inside:
            raise UserError(f"a parameter of the tool {name} has the type {target}, which holds itself; flatten it")
        whole = definitions[target] | {key: value for key, value in schema.items() if key != _REFERENCE}
        return _inlined(whole, definitions, name, (*inside, target))
    kept = {key: value for key, value in schema.items() if (key, value) not in _SAYS_NOTHING}
    if isinstance(kept.get("title"), str):
        del kept["title"]
    return {key: _inlined(value, definitions, name, inside) for key, value in kept.items()}
