"""What OpenAI's clients may send to have a chat's next turn written: text only, every field bounded."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from common.api import Body
from common.toolbench.rows import Turn
from teacher_server.openai.field_types import Absent, Empty, Label, LongText, No, OnlyAt, Tokens, as_parts
from teacher_server.openai.protocol import MAX_TOP_LOGPROBS, WritingBody, most_tokens

MAX_MESSAGES = 1_024
MAX_PARTS = 64


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: LongText


class Message(Body):
    """One turn of a chat. An assistant's turn may come back with the fields that it was answered with."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart], Field(min_length=1, max_length=MAX_PARTS), BeforeValidator(as_parts, str | list[TextPart])
    ]
    name: Absent = None
    refusal: Absent = None
    audio: Absent = None
    annotations: Empty = None
    function_call: Absent = None
    tool_calls: Empty = None

    @property
    def turn(self) -> Turn:
        """The message as the renderer takes it."""
        return Turn("system" if self.role == "developer" else self.role, "".join(part.text for part in self.content))


class TextFormat(Body):
    """The one response format there is."""

    type: Literal["text"]


class ChatBody(WritingBody):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: StrictBool | None = None
    top_logprobs: int | None = Field(default=None, strict=True, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: TextFormat | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: Empty = None
    modalities: Annotated[None, OnlyAt(["text"])] = None
    service_tier: Annotated[None, OnlyAt("auto", "default")] = None
    store: No = None
    tools: Empty = None
    tool_choice: Annotated[None, OnlyAt("none", "auto")] = None
    parallel_tool_calls: Annotated[None, OnlyAt(True, False)] = None
    functions: Empty = None
    function_call: Annotated[None, OnlyAt("none", "auto")] = None
    audio: Absent = None
    moderation: Absent = None
    prediction: Absent = None
    prompt_cache_options: Absent = None
    prompt_cache_retention: Absent = None
    reasoning_effort: Absent = None
    verbosity: Absent = None
    web_search_options: Absent = None

    @model_validator(mode="after")
    def _logprobs_come_together(self) -> "ChatBody":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs: true")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("got two different limits; leave max_tokens out and keep max_completion_tokens")
        return self

    @property
    def limit(self) -> int | None:
        """Tokens that may be written; None for as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def tokens(self, max_length: int) -> int:
        """Tokens given, without the chat template's own, and to be written, or more.

        A text has at most as many as bytes, and an answer without a limit may fill `max_length`.
        """
        written = min(self.limit or max_length, max_length)
        given = sum(most_tokens(part.text) for message in self.messages for part in message.content)
        return min(given, max_length) + written * self.number_of_answers
