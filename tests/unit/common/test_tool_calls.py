"""Written turns as content and calls."""

import pytest

from common.tool_calls import ParsedTurn, ToolCall, parse_react

ARGUMENTS = '{"city": "Oslo"}'
ANSWER = '{"return_type": "give_answer", "final_answer": "rain"}'
GIVE_UP = '{"return_type": "give_up_and_restart"}'


def react(action: str, arguments: str, before: str = "\n") -> str:
    return f"{before}Thought: go\nAction: {action}\nAction Input: {arguments}"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (react("f", ARGUMENTS), ParsedTurn("", "go", (ToolCall("f", ARGUMENTS),), True)),
        (
            react("f", ARGUMENTS, "<think>\nhm\n</think>\n\n"),
            ParsedTurn("hm", "go", (ToolCall("f", ARGUMENTS),), True),
        ),
        (react("Finish", ANSWER), ParsedTurn("", "rain", (), True)),
        (react("Finish", GIVE_UP), ParsedTurn("", "I give up and restart", (), True)),
        (react("f", "['x']"), ParsedTurn("", react("f", "['x']"), (), False)),
        (react(" ", "{}"), ParsedTurn("", react(" ", "{}"), (), False)),
        ("<think>hm</think> It rains", ParsedTurn("hm", "It rains", (), False)),
        ("<think>hm", ParsedTurn("hm", "", (), False)),
    ],
)
def test_a_turn_of_toolbench(text: str, parsed: ParsedTurn):
    assert parse_react(text) == parsed


def test_finish_is_a_call_to_who_offers_it():
    assert parse_react(react("Finish", ANSWER), finish_offered=True).calls == (ToolCall("Finish", ANSWER),)
