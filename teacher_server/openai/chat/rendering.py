"""Chats as prompts: plain ones by the model's chat template, those with tools in the layout that the settings name.

Either is what training makes of the same messages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from transformers import PreTrainedTokenizerFast

from common.api import TeacherCard
from common.errors import UserError
from common.render import Renderer
from common.tool_calls import conversation_turns
from common.toolbench.fields import BadRecord
from common.toolbench.finish import NAME
from common.toolbench.functions import read_tools
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FINISH, chat_system_prompt
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

    The card's `tool_layout` is the one in which the model was trained to call functions; None refuses chats with tools.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, card: TeacherCard) -> None:
        self._tokenizer = tokenizer
        self._card = card

    def render(self, body: ChatBody) -> RenderedChat:
        """The chat. Special tokens in what messages, tools and results say are plain characters.

        Raises ApiError (422) when the model's template or layout can't render it.
        """
        if body.of_tools:
            return self._with_tools(body)
        with _refused("messages"):
            prompt = self._plain.turn_ids(conversation_turns([message.record for message in body.messages]))
        return RenderedChat(prompt, self._plain.stop_token_ids, None)

    def _with_tools(self, body: ChatBody) -> RenderedChat:
        renderer, records = self._calling, [tool.record for tool in body.tools or []]
        if body.messages[-1].tool_calls:
            message = "the last message's calls have no result; send a message of the role tool for each"
            raise ApiError(422, "unsupported_messages", message, "messages")
        with _refused("tools"):
            chat_system_prompt("", read_tools(records))
        with _refused("messages"):
            # Where nothing is offered, calls of before still stand in the layout, and a turn can end with Finish.
            offered = records if body.offers else [FINISH]
            turns = conversation_turns([message.record for message in body.messages], offered)
            prompt, prefix = renderer.turn_ids(turns), _prefix(renderer, turns, body.chosen)
        reader = TurnReader(renderer, CallRules.of(body), prefix, body.stop)
        return RenderedChat([*prompt, *prefix], renderer.stop_token_ids, reader)

    @cached_property
    def _plain(self) -> Renderer:
        if not self._tokenizer.chat_template:
            message = "this model has no chat template, as base models have none; send /v1/completions a prompt"
            raise ApiError(422, "no_chat_template", message, "messages")
        if self._card.tool_layout in ("chat", "tools"):
            return self._calling
        return Renderer(self._tokenizer, "chat", None)

    @cached_property
    def _calling(self) -> Renderer:
        if self._card.tool_layout is None:
            message = "this teacher's settings don't say in which layout its model calls tools"
            raise ApiError(422, "no_tool_layout", f"{message}; set tool_layout there, or leave the tools out", "tools")
        return Renderer(self._tokenizer, self._card.tool_layout, None, self._card.end_token_ids)


@contextmanager
def _refused(param: str) -> Iterator[None]:
    """Raises ApiError for the field `param` where the block raises UserError."""
    try:
        yield
    except BadRecord as error:
        raise ApiError(422, "unsupported_messages", str(error), param) from None
    except UserError as error:
        said = str(error).rpartition("; ")[0] or str(error)
        raise ApiError(422, "unsupported_messages", f"{said}; or send /v1/completions a prompt", param) from None


def _prefix(renderer: Renderer, turns: tuple[Turn, ...], chosen: str | None) -> list[int]:
    """What the turn is begun with where one function is to be called: all that its calls have in common, no Thought.

    Where the layout says ToolBench's Finish as a text, any text is that call.
    """
    if chosen is None or (chosen == NAME and renderer.template == "tools"):
        return []
    calls = [renderer.completion_ids(render_step(Step("", chosen, given)), turns) for given in ("{}", '{"a": 1}')]
    return [one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(*calls, strict=False))]
