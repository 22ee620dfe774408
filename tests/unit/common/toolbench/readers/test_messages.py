"""Messages in OpenAI's form, of yesterday and of today, as turns."""

from typing import Any

import pytest

from common.toolbench.fields import BadRecord
from common.toolbench.readers.messages import to_turns
from common.toolbench.rows import Turn

ASSISTANT: dict[str, Any] = {"role": "assistant", "content": "I look"}
CALL = {"name": "f", "arguments": '{"a": "é"}'}
STEP = Turn("assistant", '\nThought: I look\nAction: f\nAction Input: {"a": "é"}')


def tool_calls(*names: str) -> list[dict[str, Any]]:
    return [{"id": "same", "type": "function", "function": CALL | {"name": name}} for name in names]


@pytest.mark.parametrize(
    "call",
    [
        {"function_call": CALL},
        {"function_call": CALL, "tool_calls": None},
        {"function_call": None, "tool_calls": tool_calls("f")},
        {"tool_calls": tool_calls("f"), "refusal": None},
        {"function_call": CALL | {"arguments": {"a": "é"}}},
    ],
)
def test_every_form_of_a_call_is_the_same_step(call: dict[str, Any]):
    assert to_turns([ASSISTANT | call], "m") == [STEP]


@pytest.mark.parametrize("nothing", [{}, {"function_call": None}, {"tool_calls": []}, {"tool_calls": None}])
def test_text_without_a_call_waits_for_one(nothing: dict[str, Any]):
    assert to_turns([ASSISTANT | nothing], "m") == []
    [turn] = to_turns([ASSISTANT | nothing, {"role": "assistant", "content": None, "function_call": CALL}], "m")
    assert turn == STEP


def test_parallel_calls_are_steps_one_after_the_other():
    observed = [{"role": "tool", "content": "1"}, {"role": "function", "content": "2"}]
    turns = to_turns([ASSISTANT | {"tool_calls": tool_calls("f", "g")}, *observed], "m")
    second = Turn("assistant", '\nThought: \nAction: g\nAction Input: {"a": "é"}')
    assert turns == [STEP, Turn("function", "1"), second, Turn("function", "2")]


@pytest.mark.parametrize(
    ("messages", "reason", "message"),
    [
        (
            [ASSISTANT | {"tool_calls": tool_calls("f", "g")}, ASSISTANT],
            "no_observation",
            r"before 'm\[1\]' have fewer",
        ),
        ([ASSISTANT | {"tool_calls": [{}]}], "missing_field", r"m\[0\].tool_calls\[0\].function' is missing"),
        ([ASSISTANT | {"tool_calls": "f"}], "wrong_type", r"m\[0\].tool_calls' holds a string, expected a list"),
        (
            [ASSISTANT | {"function_call": "f"}],
            "wrong_type",
            r"m\[0\].function_call' holds a string, expected an object",
        ),
        ([ASSISTANT | {"function_call": CALL | {"arguments": None}}], "wrong_type", "arguments' holds None"),
        ([{"role": "gpt"}], "unknown_role", "got the role 'gpt'"),
    ],
)
def test_other_forms_are_named(messages: list[Any], reason: str, message: str):
    with pytest.raises(BadRecord, match=message) as error:
        to_turns(messages, "m")
    assert error.value.reason == reason
