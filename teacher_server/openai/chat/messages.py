"""Messages of a chat, calls and their results among them, every field bounded."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from common.api import Body
from teacher_server.openai.chat.tools import MAX_TOOLS, FunctionName
from teacher_server.openai.field_types import Absent, Empty, Label, LongText, as_parts

MAX_PARTS = 64

CallId = Annotated[str, Field(min_length=1, max_length=512)]


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: LongText


class FunctionCall(Body):
    """A function called with arguments: JSON text, as it was answered."""

    name: FunctionName
    arguments: LongText


class ToolCall(Body):
    """A call in an assistant's message."""

    id: CallId
    type: Literal["function"]
    function: FunctionCall


class Message(Body):
    """One turn of a chat. An assistant's turn may come back with the fields that it was answered with."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS)] | None,
        BeforeValidator(as_parts, str | list[TextPart] | None),
    ] = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: CallId | None = None
    reasoning_content: LongText | None = None
    invalid_tool_call: LongText | None = None
    name: Label | None = None
    refusal: Absent = None
    audio: Absent = None
    annotations: Empty = None
    function_call: Absent = None

    @model_validator(mode="after")
    def _fields_of_its_role(self) -> "Message":
        if self.content is None and not self.tool_calls:
            raise ValueError(f"content: a message of the role {self.role} needs a text, or a list of text parts")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("tool_call_id: a tool's message needs the id of the call that it answers")
        others = {
            "tool": ("tool_call_id", "name"),
            "assistant": ("tool_calls", "reasoning_content", "invalid_tool_call"),
        }
        for role, fields in others.items():
            if self.role != role and (given := [field for field in fields if getattr(self, field)]):
                raise ValueError(f"{given[0]}: only in messages of the role {role}, got it in one of {self.role}")
        return self

    @property
    def text(self) -> str:
        """Its parts' text together."""
        return "".join(part.text for part in self.content or [])

    @property
    def of_tools(self) -> bool:
        """Whether it calls functions or answers a call."""
        return self.role == "tool" or bool(self.tool_calls)

    @property
    def record(self) -> dict[str, Any]:
        """The message as `common.tool_calls` reads it."""
        fields = {"role", "tool_calls", "tool_call_id", "reasoning_content", "invalid_tool_call"}
        told = self.model_dump(include=fields, exclude_none=True)
        return told | {"content": None if self.content is None else self.text}
