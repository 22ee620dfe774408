"""Which tokens of a completion are its Thought, its Action and its input: each is one, and none is off by one."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.processors import ByteLevel
from transformers import PreTrainedTokenizerFast

from common.render import Renderer, load_tokenizer
from common.toolbench.react import PARTS, Step, render_step
from common.toolbench.rows import PromptRow, Turn
from tests.unit.common.layouts.templates import FAMILIES

ROOT = Path(__file__).parents[4]
STEP = Step("done ☂.", "look_for_a", '{"city": "Zürich", "n": 1}')
OFFER = [
    {"name": "look_for_a", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}},
    {"name": "Finish", "parameters": {"type": "object", "properties": {"return_type": {"type": "string"}}}},
]


def row_with(row: PromptRow, completion: str) -> PromptRow:
    system = f"You are AutoGPT.\nSpecifically, you have access to the following APIs: {OFFER}"
    return replace(row, turns=(Turn("system", system), Turn("user", "\nq\nBegin!\n")), completion=completion)


def pieces(renderer: Renderer, row: PromptRow) -> dict[str, str]:
    """The text of each part, its tokens decoded together; the parts stand in their order, each in one piece."""
    ids, parts = renderer.sequence(row).completion_ids, renderer.parts(row)
    runs = [(part, list(group)) for part, group in groupby(zip(parts, ids, strict=True), key=lambda each: each[0])]
    assert [part for part, _ in runs] == [part for part in PARTS if part in parts]
    decode = renderer._tokenizer.decode
    return {part: decode([id for _, id in group], clean_up_tokenization_spaces=False) for part, group in runs}


def test_parts_begin_with_their_labels(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    assert pieces(Renderer(tokenizer, "toolbench", None), row_with(row, render_step(STEP))) == {
        "thought": "\nThought: done ☂.",
        "action": "\nAction: look_for_a",
        "action_input": '\nAction Input: {"city": "Zürich", "n": 1}</s>',
    }


def test_white_space_belongs_to_its_own_part_whatever_the_tokenizer_trims(
    tokenizer: PreTrainedTokenizerFast, row: PromptRow
):
    tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=True)
    found = pieces(Renderer(tokenizer, "toolbench", None), row_with(row, render_step(Step("a \n ", "f", " {}"))))
    assert found["thought"] == "\nThought: a \n "
    assert found["action_input"] == "\nAction Input:  {}</s>"


def test_a_thought_that_speaks_of_actions_and_windows_lines(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    text = "\r\nThought: x\nAction: not this\r\nAction: Finish\r\nAction Input: {}"
    assert pieces(Renderer(tokenizer, "toolbench", None), row_with(row, text)) == {
        "thought": "\r\nThought: x\nAction: not this",
        "action": "\r\nAction: Finish",
        "action_input": "\r\nAction Input: {}</s>",
    }


def test_what_is_no_step_is_all_thought_but_for_its_end(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    found = pieces(Renderer(tokenizer, "toolbench", None), row_with(row, "\nThought: and then?"))
    assert found == {"thought": "\nThought: and then?", "action_input": "</s>"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thought=st.text("ab .\n☂é", max_size=9), action=st.text("ab_", min_size=1), given=st.text('{"a: \n}', max_size=9)
)
def test_every_token_belongs_to_one_part_and_the_parts_are_the_whole(
    tokenizer: PreTrainedTokenizerFast, row: PromptRow, thought: str, action: str, given: str
):
    """The tokenizer here has no token across a label's beginning, so that parts are cut to the letter."""
    text = render_step(Step(thought, action, given))
    found = pieces(Renderer(tokenizer, "toolbench", None), row_with(row, text))
    assert "".join(found.values()) == f"{text}</s>"
    assert found["action"] == f"\nAction: {action}"


def test_a_token_across_a_boundary_belongs_where_it_begins(row: PromptRow):
    """The shipped tokenizer joins a sentence's end and the line break behind it, or doesn't: nothing is lost."""
    renderer = Renderer(load_tokenizer(ROOT / "student_trainer/base_models/student"), "toolbench", None)
    found = pieces(renderer, row_with(row, render_step(STEP)))
    assert found["action"].strip().startswith("Action: look_for_a")
    assert found["action_input"].strip().startswith("Action Input: {")


CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_a_chat_template_has_the_same_parts(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    tokenizer.chat_template = CHAT
    found = pieces(Renderer(tokenizer, "chat", None), row_with(row, render_step(STEP)))
    assert found["action"] == "\nAction: look_for_a"
    assert found["action_input"] == '\nAction Input: {"city": "Zürich", "n": 1}</s>'


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_in_a_templates_own_form_have_parts(tokenizer: PreTrainedTokenizerFast, row: PromptRow, family: str):
    tokenizer.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]"]})
    tokenizer.chat_template = FAMILIES[family]
    renderer = Renderer(tokenizer, "tools", None)
    found = pieces(renderer, row_with(row, render_step(replace(STEP, thought=""))))
    assert "look_for_a" in found["action"]
    assert "city" not in found["action"]
    assert found["action_input"].count("Zürich") == 1
    assert "Zürich" not in found.get("thought", "") + found["action"]
    answer = render_step(Step("", "Finish", '{"return_type": "give_answer", "final_answer": "It rains."}'))
    assert "It rains." in pieces(renderer, row_with(row, answer))["action_input"]
