"""The ReAct form: rendering and parsing are each other's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.toolbench.react import (
    ParseError,
    Step,
    parse_step,
    render_step,
    split_reasoning,
    unix_labels,
    with_reasoning,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_the_exact_string():
    step = Step("I look", "forecast_for_weather", '{"city": "Oslo"}')
    assert render_step(step) == '\nThought: I look\nAction: forecast_for_weather\nAction Input: {"city": "Oslo"}'


@given(words, st.text("abc_", min_size=1), words)
def test_round_trip(thought: str, action: str, action_input: str):
    step = Step(thought.rstrip("\r"), action, action_input)
    assert parse_step(render_step(step)) == step
    assert parse_step(render_step(step).lstrip()) == step


def test_a_thought_may_speak_of_actions():
    step = Step("It failed.\n\nAction: Call the 'Finish' function.", "Finish", "{}")
    assert parse_step(render_step(step)) == step


def test_windows_line_ends_before_labels_are_no_part_of_a_step():
    step = Step("two\r\nlines", "Finish", '{"a":\r\n1}')
    text = "\r\nThought: two\r\nlines\r\nAction: Finish\r\nAction Input: " + step.action_input
    assert parse_step(text) == step
    assert unix_labels(text) == render_step(step)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('[{"name": "Finish"}]', "'Thought:' is missing"),
        ("Thought: I am done", "'Action:' is missing"),
        ("Thought: x\nAction Input: {}", "'Action:' is missing"),
        ("Thought: x\nAction: Finish", "'Action Input:' is missing"),
        ("Thought: x Action: Finish Action Input: {}", "'Action:' is missing"),
        ("\nAction: Finish\nAction Input: {}", "'Thought:' is missing"),
        ("", "'Thought:' is missing"),
    ],
)
def test_what_is_missing_is_named(text: str, missing: str):
    with pytest.raises(ParseError) as error:
        parse_step(text)
    assert str(error.value) == missing


@pytest.mark.parametrize("reasoning", ["so", "Thought: a\nAction: b\nAction Input: c"])
def test_what_was_thought_aloud_is_no_part_of_a_step(reasoning: str):
    step = Step("go", "f", "{}")
    text = with_reasoning(reasoning, render_step(step))
    assert (parse_step(text), split_reasoning(text)) == (step, (reasoning, render_step(step).lstrip()))
    with pytest.raises(ParseError):
        parse_step(text.replace("</think>", ""))
