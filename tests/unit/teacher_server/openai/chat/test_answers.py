"""A streamed turn joins to the unstreamed one, whatever was written and however its tokens come."""

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import CompletionUsage

from common.api import ServedModel
from common.render import Renderer
from teacher_server.engine.protocol import WriteOptions
from teacher_server.openai.chat.answers import ToolChatAnswer
from teacher_server.openai.chat.turns import CallRules, TurnReader
from teacher_server.openai.tokenization import TextTokenizer
from tests.unit.teacher_server.openai.chat.scripted import OTHER_END, Layout, byte_tokenizer, deltas_of, marked, react

MODEL = ServedModel(name="teacher", adapter=False, revision="r0")
USAGE = CompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
FINISH = react("Finish", '{"return_type": "give_answer", "final_answer": "é☂"}')
PIECES = [
    react("rain", '{"city": "Zürich"}'), FINISH, "\nThought: ", "\nAction: ", "\nAction Input: ", "rain", "{}",
    marked(("rain", "{}"), ("sun", '{"n": 1}')), "<tool_call>", "</tool_call>", '{"name": "f", "arguments": {}}',
    "<think>", "</think>", "\n", " ", "☂", "STOP", "ST", "OP", "<|eos|>", "<|eot_id|>", "said",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.sampled_from(PIECES[:2])


def answer(layout: Layout, rules: CallRules, stops: list[str]) -> ToolChatAnswer:
    reader = TurnReader(Renderer(byte_tokenizer(), layout, None, [OTHER_END]), rules, [], stops)
    return ToolChatAnswer(MODEL, TextTokenizer(byte_tokenizer()), None, reader)


def join(deltas: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that clients make of deltas: text is put together, field by field and call by call."""
    message: dict[str, Any] = {"content": None}
    for delta in deltas:
        for call in delta.pop("tool_calls", []):
            calls = message.setdefault("tool_calls", [])
            if call["index"] == len(calls):
                calls.append({"id": call["id"], "type": call["type"], "function": dict(call["function"])})
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        for name, text in delta.items():
            message[name] = (message.get(name) or "") + text
    return message


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """Calls of two answers have two ids."""
    assert len({call.pop("id") for call in message.get("tool_calls", [])}) == len(message.get("tool_calls", []))
    return message


@pytest.mark.parametrize("layout", ["toolbench", "chat", "tools"])
@given(
    text=texts,
    cuts=st.lists(st.integers(1, 40), max_size=30),
    max_tokens=st.sampled_from([1_000, 20]),
    stops=st.sampled_from([[], ["STOP"], ["STOP", "\nAction"]]),
    offered=st.sampled_from([(), ("rain",), ("rain", "Finish")]),
    required=st.booleans(),
    single=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_joins_to_the_whole(
    layout: Any,
    text: str,
    cuts: list[int],
    max_tokens: int,
    stops: list[str],
    offered: tuple[str, ...],
    required: bool,
    single: bool,
):
    options, rules = WriteOptions(max_tokens=max_tokens, stop=stops), CallRules(offered, required, single)
    deltas = list(deltas_of(byte_tokenizer(), text, options, cuts))
    whole = answer(layout, rules, stops).whole([list(deltas_of(byte_tokenizer(), text, options))], USAGE).choices[0]
    streamed = answer(layout, rules, stops)
    chunks = [chunk.choices[0] for delta in deltas for chunk in streamed.chunks(0, delta)]
    joined = join([chunk.delta.model_dump(exclude_unset=True) for chunk in chunks])
    expected = whole.message.model_dump(exclude_unset=True)
    assert expected.pop("refusal") is None
    assert without_ids(joined) == without_ids(expected)
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + [whole.finish_reason]
    check_honest(cast(dict[str, Any], expected), whole.finish_reason, rules)


def check_honest(message: dict[str, Any], reason: str, rules: CallRules) -> None:
    """Whatever the turn was, clients get a call as they may expect one, or text."""
    calls = message.get("tool_calls", [])
    assert (reason == "tool_calls") == bool(calls)
    assert not (calls and "invalid_tool_call" in message)
    assert rules.offered or not calls
    assert not rules.required or calls or "invalid_tool_call" in message
    assert len(calls) <= 1 or not rules.single
    assert calls or message["content"] is not None
