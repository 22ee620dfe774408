"""What OpenAI's clients may send to have a chat's next turn written: text and function calls, every field bounded."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from common.api import Body
from teacher_server.openai.chat.messages import Message
from teacher_server.openai.chat.tools import MAX_TOOLS, NamedChoice, Tool, ToolChoice, check_size
from teacher_server.openai.field_types import Absent, Empty, Label, No, OnlyAt, Tokens
from teacher_server.openai.protocol import MAX_TOP_LOGPROBS, WritingBody, most_tokens

MAX_MESSAGES = 1_024


class TextFormat(Body):
    """The one response format there is."""

    type: Literal["text"]


class ChatBody(WritingBody):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS), AfterValidator(check_size)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
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
    def _fields_fit(self) -> "ChatBody":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs: true")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("got two different limits; leave max_tokens out and keep max_completion_tokens")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("tool_choice: only with tools")
        if isinstance(self.tool_choice, NamedChoice) and self.tool_choice.function.name not in self.offered:
            names = ", ".join(self.offered)
            raise ValueError(
                f"tool_choice: got the function {self.tool_choice.function.name!r}, expected one of {names}"
            )
        return self

    @property
    def chosen(self) -> str | None:
        """The one function that is to be called, if any is."""
        return self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None

    @property
    def offered(self) -> list[str]:
        """Names of the functions that are offered."""
        return [tool.function.name for tool in self.tools or []]

    @property
    def offers(self) -> bool:
        """Whether the next turn may call functions."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def of_tools(self) -> bool:
        """Whether it may, or former turns did."""
        return self.offers or any(message.of_tools for message in self.messages)

    @property
    def limit(self) -> int | None:
        """Tokens that may be written; None for as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def tokens(self, max_length: int) -> int:
        """Tokens given, without the layout's own, and to be written, or more.

        A text has at most as many as bytes; a chat with tools, and an answer without a limit, may fill `max_length`.
        """
        written = min(self.limit or max_length, max_length)
        given = sum(most_tokens(message.text) for message in self.messages)
        return (max_length if self.of_tools else min(given, max_length)) + written * self.number_of_answers
