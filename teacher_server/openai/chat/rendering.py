"""Chats as prompts: plain ones by the model's chat template, those with tools in the layout that the settings name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.render import Renderer, Template
from common.tool_calls import conversation_turns
from common.toolbench.fields import BadRecord
from common.toolbench.functions import read_tools
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FINISH
from teacher_server.http.errors import ApiError
from teacher_server.openai.chat.protocol import ChatBody
from teacher_server.openai.chat.turns import CallRules, TurnReader


@dataclass(frozen=True)
class RenderedChat:
    """A chat up to where its next turn is to be written."""

    prompt: list[int]
    end_ids: list[int]
    """Ids that end the turn."""
    reader: TurnReader | None
    """Reads a turn that may call functions; None where the turn is text."""


class ChatRendering:
    """Renders chats with one model's tokenizer. Methods may be called from several threads at once.

    `tool_layout` is the one in which the model was trained to call functions; None refuses chats with tools.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, tool_layout: Template | None) -> None:
        self._tokenizer = tokenizer
        self._tool_layout = tool_layout

    def render(self, body: ChatBody) -> RenderedChat:
        """The chat. Special tokens in what messages, tools and results say are plain characters.

        Raises ApiError (422) when the model's template or layout can't render it.
        """
        if body.of_tools:
            return self._with_tools(body)
        turns = [message.turn for message in body.messages]
        return RenderedChat(_ids(self._plain, turns), self._plain.stop_token_ids, None)

    def _with_tools(self, body: ChatBody) -> RenderedChat:
        renderer, records = self._calling, [tool.record for tool in body.tools or []]
        try:
            read_tools(records)
        except BadRecord as error:
            raise ApiError(422, "invalid_value", str(error), "tools") from None
        try:
            # Where nothing is offered, calls of before still stand in the layout, and a turn can end with Finish.
            offered = records if body.offers else [FINISH]
            turns = conversation_turns([message.record for message in body.messages], offered)
        except BadRecord as error:
            raise ApiError(422, "unsupported_messages", str(error), "messages") from None
        prefix = _prefix(renderer, body)
        rules = CallRules(
            offered=tuple(body.offered if body.offers else ()),
            required=body.tool_choice not in (None, "none", "auto"),
            single=body.parallel_tool_calls is False,
        )
        reader = TurnReader(renderer, rules, prefix, body.stop)
        return RenderedChat([*_ids(renderer, turns), *prefix], renderer.stop_token_ids, reader)

    @cached_property
    def _plain(self) -> Renderer:
        if not self._tokenizer.chat_template:
            message = "this model has no chat template, as base models have none; send /v1/completions a prompt"
            raise ApiError(422, "no_chat_template", message, "messages")
        return Renderer(self._tokenizer, "chat", None)

    @cached_property
    def _calling(self) -> Renderer:
        if self._tool_layout is None:
            message = "this teacher's settings don't say in which layout its model calls tools"
            raise ApiError(422, "no_tool_layout", f"{message}; set tool_layout there, or leave the tools out", "tools")
        return Renderer(self._tokenizer, self._tool_layout, None)


def _ids(renderer: Renderer, turns: Sequence[Turn]) -> list[int]:
    try:
        return renderer.turn_ids(tuple(turns))
    except UserError as error:
        said = str(error).rpartition("; ")[0] or str(error)
        raise ApiError(422, "unsupported_messages", f"{said}; or send /v1/completions a prompt", "messages") from None


def _prefix(renderer: Renderer, body: ChatBody) -> list[int]:
    """What the turn is begun with where one function is to be called: an empty Thought and the function's name.

    Without the space before the arguments, which is the beginning of the model's next token.
    """
    if body.chosen is None:
        return []
    begun = render_step(Step("", body.chosen, "")).rstrip(" ")
    return renderer.completion_ids(begun)[:-1]
