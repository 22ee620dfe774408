"""Types of the fields in OpenAI's bodies: one or several, bounded, or taken at neutral values alone."""

import json
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
)
from pydantic_core import PydanticCustomError, core_schema

from common.api import MAX_SEQUENCE_TOKENS, MAX_SEQUENCES, StopStrings, TokenIds

MAX_CHARACTERS = 8 * MAX_SEQUENCE_TOKENS


class OnlyAt:
    """Marks a field that is taken as null or at one of `values` alone, and then ignored."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {"enum": [None, *self.values]}

    def _check(self, value: Any) -> None:
        if value is not None and value not in self.values:
            neutral = "".join(f" or send {json.dumps(allowed)}" for allowed in self.values)
            raise PydanticCustomError("unsupported", f"this teacher doesn't support it; leave it out{neutral}")


def as_stops(value: Any) -> Any:
    """One stop string as a list of them."""
    return [] if value is None else [value] if isinstance(value, str) else value


def as_prompts(value: Any) -> Any:
    """One prompt, a text or ids, as a list of them."""
    is_one = isinstance(value, str) or (isinstance(value, list) and all(isinstance(token, int) for token in value))
    return [value] if is_one else value


def as_parts(value: Any) -> Any:
    """A text as a list of content parts."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _not_zero(value: int) -> int:
    if value == 0:
        raise PydanticCustomError("no_tokens", "0 would leave no prompt; send the number of tokens to keep, or -1")
    return value


Absent = Annotated[None, OnlyAt()]
Zero = Annotated[None, OnlyAt(0)]
No = Annotated[None, OnlyAt(False)]
Empty = Annotated[None, OnlyAt([], {})]

LongText = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Label = Annotated[str, Field(max_length=512)]
Prompt = Annotated[
    Annotated[LongText, Tag("text")] | Annotated[TokenIds, Tag("ids")],
    Discriminator(lambda prompt: "text" if isinstance(prompt, str) else "ids"),
]
Prompts = Annotated[
    list[Prompt],
    Field(min_length=1, max_length=MAX_SEQUENCES),
    BeforeValidator(as_prompts, str | list[str] | list[int] | list[list[int]]),
]
Tokens = Annotated[int, Field(strict=True, ge=1, le=MAX_SEQUENCE_TOKENS)]
TopK = Annotated[int, Field(strict=True, ge=-1, lt=2**31)]
Truncation = Annotated[int, Field(strict=True, ge=-1, le=MAX_SEQUENCE_TOKENS), AfterValidator(_not_zero)]
Stops = Annotated[StopStrings, BeforeValidator(as_stops, str | list[str] | None)]
