"""Functions that a chat offers. A schema is text for the prompt: it is bounded, and nothing in it is ever followed."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, ModelWrapValidatorHandler, PrivateAttr, Tag, model_validator
from pydantic_core import PydanticCustomError

from common.api import Body
from teacher_server.openai.field_types import LongText, No

MAX_TOOLS = 128
MAX_TOOLS_BYTES = 65_536
"""All tools of a chat together, as JSON."""
MAX_SCHEMA_DEPTH = 16


def _check_depth(schema: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [value for each in level for value in (each.values() if isinstance(each, dict) else each)]
        level = [value for value in level if isinstance(value, dict | list)]
    if level:
        raise PydanticCustomError("too_deep", f"got a schema of more than {MAX_SCHEMA_DEPTH} levels; make it flatter")
    return schema


FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Schema = Annotated[dict[str, Any], AfterValidator(_check_depth)]


class Function(Body):
    """A function that may be called."""

    name: FunctionName
    description: LongText | None = None
    parameters: Schema | None = None
    response: Schema | None = None
    """What it answers, as BFCL's functions say."""
    strict: No = None


class Tool(Body):
    """An entry of `tools`."""

    type: Literal["function"]
    function: Function
    _record: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The entry as it was sent, its keys in their order: prompts show them so."""
        return self._record

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, sent: Any, validate: ModelWrapValidatorHandler["Tool"]) -> "Tool":
        tool = validate(sent)
        tool._record = dict(sent)
        return tool


class NamedFunction(Body):
    """A function by its name."""

    name: FunctionName


class NamedChoice(Body):
    """The one function that is to be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")] | Annotated[NamedChoice, Tag("named")],
    Discriminator(lambda choice: "named" if isinstance(choice, dict | NamedChoice) else "mode"),
]


def check_size(tools: list[Tool]) -> list[Tool]:
    """The tools. Raises PydanticCustomError when their JSON is too long."""
    size = len(json.dumps([tool.record for tool in tools], ensure_ascii=False).encode())
    if size > MAX_TOOLS_BYTES:
        message = (
            f"got {size} bytes of tools as JSON, expected at most {MAX_TOOLS_BYTES}; offer fewer, or describe less"
        )
        raise PydanticCustomError("too_long", message)
    return tools
