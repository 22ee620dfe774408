"""A tokenizer's chat template as the layout of turns that are text, calls in ReAct's form among them."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from common.layouts.chat_template import Chat, ChatTemplate, Put, join_users, put_answer
from common.layouts.segments import Completion, TemplateMisfit, TextSegment
from common.tool_calls import ParsedTurn, parse_react
from common.toolbench.react import Span, part_starts
from common.toolbench.rows import Role, Turn


class ChatLayout:
    """The tokenizer's chat template; function turns take a role that it renders: `tool`, else `ipython`, else `user`.

    Every rendering is checked to be made of the template's own words and the turns in a known form, so that nothing is
    lost unseen: methods raise TemplateMisfit where it isn't.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._template = ChatTemplate(tokenizer)
        self._function_role = next(role for role in ("tool", "ipython", "user") if self._renders(role))

    @property
    def openings(self) -> Sequence[str]:
        """As `Layout.openings`."""
        return self._template.openings

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """As `Layout.prompt`."""
        return self._template.segments(lambda put: self._chat(turns, put), open_turn=True)

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """As `Layout.completion`; words of the template's own before the text included."""

        def answered(put: Put) -> Chat:
            answer = {"role": "assistant", "content": put_answer(put, text)}
            return Chat([*self._chat(turns, put).messages, answer])

        *turn, end = self._template.answer(lambda put: self._chat(turns, put), answered)
        return Completion(turn, [end])

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """As `Layout.parse`."""
        return parse_react(self._template.written(text), finish_offered)

    def react(self, text: str) -> str:
        """As `Layout.react`."""
        return text

    def part_starts(self, text: str) -> Span:
        """As `Layout.part_starts`."""
        return part_starts(text)

    def _renders(self, role: str) -> bool:
        messages = [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "call"},
            {"role": role, "content": "observation"},
        ]
        try:
            return role == "user" or "observation" in self._template.render(Chat(messages), open_turn=True)
        except TemplateMisfit:
            return False

    def _chat(self, turns: Sequence[Turn], put: Put) -> Chat:
        messages = join_users([{"role": self._role(turn.role), "content": turn.content} for turn in turns])
        return Chat([message | {"content": put(message["content"], message["role"])} for message in messages])

    def _role(self, role: Role) -> str:
        return self._function_role if role == "function" else role
