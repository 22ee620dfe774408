"""Augmentation: what changes, what stays, and that rows which were right still are."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.quality.completions import check_completion
from common.toolbench.__main__ import main
from common.toolbench.augment import MOST_DISTRACTORS, Augmentation, parse_changes
from common.toolbench.react import ParseError, parse_step, split_reasoning, with_reasoning
from common.toolbench.rows import PromptRow, Turn, read_rows
from common.toolbench.system_prompt import FINISH, chat_system_prompt, offered_functions

Function = dict[str, Any]
TREES = "ToolBench/data_example/answer"
QUERIES = "StableToolBench/solvable_queries/test_instruction/G3_instruction.json"
EVERYTHING = "rename,distractors,shuffle"


def function(name: str, *arguments: str) -> Function:
    properties = {argument: {"type": "string", "description": f"{argument} of {name}"} for argument in arguments}
    return {
        "name": name,
        "description": f"{name} it",
        "parameters": {"type": "object", "properties": properties, "required": list(arguments[:1]), "optional": []},
    }


LOOK, LIST = function("look_up", "city", "day"), function("list_all")
STEP = '\nThought: I look_up, not look_ups.\nAction: look_up\nAction Input: {\n  "city": "day",\n  "more": 1\n}'
TOLD = 'Not the first time:\n[\n  {\n    "name": "look_up",\n    "arguments": "{\\n  \\"city\\": \\"x\\"\\n}"\n  }\n]'
TURNS = (
    Turn("system", chat_system_prompt("Use look_up.", [LOOK, LIST])),
    Turn("user", "\nlook_up Oslo\nBegin!\n"),
    Turn("assistant", STEP),
    Turn("function", '{"city": "look_up"}'),
    Turn("user", TOLD),
)
DONE = '\nThought: look_up did\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "look_up"}'
ROWS = [
    PromptRow("t/1", "q", TURNS[:2], STEP, "t", 1, "g"),
    PromptRow("t/2", "q", TURNS, DONE, "t", 2, "g"),
]


def other(number: int) -> PromptRow:
    system = Turn("system", chat_system_prompt("", [function(f"other_{number}", "city"), LIST]))
    return PromptRow(f"o{number}/1", "q", (system, TURNS[1]), None, f"o{number}", 1, "g")


def augmented(changes: str, rows: list[PromptRow], seed: int = 0) -> list[PromptRow]:
    return list(Augmentation(parse_changes(changes), seed).rows(rows))


def test_renaming_reaches_everything_that_says_a_name_and_nothing_else():
    first, second = augmented("rename", ROWS)
    look, everything, finish = offered_functions(second.turns[0].content)
    city, day = look["parameters"]["properties"]
    assert {look["name"], everything["name"], city, day}.isdisjoint(re.findall(r"\w+", str(ROWS)))
    assert look["parameters"] == LOOK["parameters"] | {
        "properties": {city: LOOK["parameters"]["properties"]["city"], day: LOOK["parameters"]["properties"]["day"]},
        "required": [city],
    }
    assert (look["description"], everything["parameters"], finish) == ("look_up it", LIST["parameters"], FINISH)
    name = look["name"]
    step = f'\nThought: I {name}, not look_ups.\nAction: {name}\nAction Input: {{\n  "{city}": "day",\n  "more": 1\n}}'
    told = TOLD.replace("look_up", name).replace("city", city)
    assert second.turns[1:] == (TURNS[1], Turn("assistant", step), TURNS[3], Turn("user", told))
    assert second.completion == DONE.replace("look_up", name, 1)
    assert (first.turns, first.completion) == (second.turns[:2], step)
    assert second.turns[0].content.startswith("Use look_up.")


@pytest.mark.parametrize("written", ['{"city": "é"}', '{"city":"é"}', '{"city": "\\u00e9"}', '{\n    "city": "é"\n}'])
def test_arguments_are_written_as_they_were(written: str):
    row = replace(ROWS[0], completion=f"\nThought: \nAction: look_up\nAction Input: {written}")
    [renamed] = augmented("rename", [row])
    city = next(iter(offered_functions(renamed.turns[0].content)[0]["parameters"]["properties"]))
    assert parse_step(renamed.completion or "").action_input == written.replace("city", city)


def test_reasoning_stays_where_it_is():
    thought = replace(ROWS[0], completion=with_reasoning("Thought: look_up\nAction: x\nAction Input: y", STEP))
    [renamed], [plain] = augmented("rename", [thought]), augmented("rename", ROWS[:1])
    name = offered_functions(renamed.turns[0].content)[0]["name"]
    assert split_reasoning(renamed.completion or "") == (
        f"Thought: {name}\nAction: x\nAction Input: y",
        (plain.completion or "").lstrip().replace(offered_functions(plain.turns[0].content)[0]["name"], name),
    )


@pytest.mark.parametrize(
    "text", ["\nThought: look_up", "no step: look_up", STEP.replace("}", ""), STEP.replace("look_up\n", "no\n")]
)
def test_what_is_no_call_of_an_offered_function_keeps_its_form(text: str):
    [row] = augmented("rename", [replace(ROWS[0], completion=text)])
    name = offered_functions(row.turns[0].content)[0]["name"]
    assert row.completion == re.sub(r"\blook_up\b", name, text)


def test_distractors_are_functions_of_others_and_collide_with_none():
    rows = [other(number) for number in range(9)]
    for before, after in zip(rows, augmented("distractors", rows), strict=True):
        own, offered = (offered_functions(row.turns[0].content) for row in (before, after))
        names = [each["name"] for each in offered]
        assert [each for each in offered if each in own] == own
        assert len(names) == len(set(names))
        assert 1 <= len(offered) - len(own) <= MOST_DISTRACTORS
        assert all(each in own or re.fullmatch(r"other_\d", each["name"]) for each in offered)
        assert after.turns[1:] == before.turns[1:]


def test_a_distractors_tool_stands_among_the_tools(tmp_path: Path, shared_data: Path):
    for row in read_rows(converted(tmp_path, shared_data, "distractors")):
        text = row.turns[0].content
        lines = re.findall(r"^(\d+)\.(\S+): ", text.partition("following tools:\n")[2], re.MULTILINE)
        assert [number for number, _ in lines] == [str(number) for number in range(1, len(lines) + 1)]
        assert len({tool for _, tool in lines}) == len(lines)
        assert set(re.findall(r'the subfunction for tool "([^"]*)"', text)) <= {tool for _, tool in lines}


def test_the_order_changes_and_finish_stays_last():
    functions = [function(f"f{number}") for number in range(8)]
    row = replace(ROWS[0], turns=(Turn("system", chat_system_prompt("", functions)), TURNS[1]))
    orders = []
    for seed in range(3):
        [shuffled] = augmented("shuffle", [row], seed)
        *others, finish = offered_functions(shuffled.turns[0].content)
        assert (finish, sorted(others, key=str)) == (FINISH, functions)
        orders.append(str(others))
    assert len(set(orders)) == 3


def test_changes_follow_from_the_seed():
    rows = [*ROWS, *map(other, range(5))]
    assert augmented(EVERYTHING, rows) == augmented(EVERYTHING, rows)
    assert augmented(EVERYTHING, rows) != augmented(EVERYTHING, rows, seed=1)


def test_rows_that_offer_nothing_stay():
    plain = replace(ROWS[0], turns=(Turn("user", "look_up"),), completion="look_up")
    assert augmented(EVERYTHING, [plain]) == [plain]


def converted(folder: Path, shared_data: Path, changes: str | None, source: str = TREES) -> Path:
    out = folder / f"{changes}"
    options = ["--augment", changes, "--seed", "7"] if changes else []
    main(["convert", str(shared_data / source), str(out), "--split-name", "x", "--give-up", "keep", *options])
    return out


ONE_OR_TWO = ["rename", "distractors", "shuffle", "rename,distractors", "rename,shuffle", "distractors,shuffle"]


@pytest.mark.parametrize(
    ("source", "changes"), [*((TREES, each) for each in ONE_OR_TWO), (TREES, EVERYTHING), (QUERIES, EVERYTHING)]
)
def test_real_rows_that_were_right_still_are(tmp_path: Path, shared_data: Path, source: str, changes: str):
    plain, changed = (list(read_rows(converted(tmp_path, shared_data, each, source))) for each in (None, changes))
    assert [row.id for row in changed] == [row.id for row in plain]
    assert any(before != after for before, after in zip(plain, changed, strict=True))
    for before, after in zip(plain, changed, strict=True):
        assert [turn.role for turn in after.turns] == [turn.role for turn in before.turns]
        offered = [offered_functions(row.turns[0].content) for row in (before, after)]
        assert str(offered[0][-1]) == str(offered[1][-1])
        for was, is_now in zip(said(before), said(after), strict=True):
            assert check_completion(is_now, offered[1]) == check_completion(was, offered[0])
            assert values(is_now) == values(was)


def said(row: PromptRow) -> list[str]:
    return [turn.content for turn in row.turns if turn.role == "assistant"] + [row.completion or ""]


def values(text: str) -> Any:
    """The values of a call's arguments, whatever they are called."""
    try:
        return list(json.loads(parse_step(text).action_input, strict=False).values())
    except (ParseError, ValueError):
        return None


def test_a_conversations_rows_still_begin_each_other(tmp_path: Path, shared_data: Path):
    rows = list(read_rows(converted(tmp_path, shared_data, EVERYTHING)))
    followed = 0
    for one, two in pairwise(rows):
        if one.trace == two.trace:
            followed += two.turns[: len(one.turns) + 1] == (*one.turns, Turn("assistant", one.completion or ""))
    assert followed > 5


@pytest.mark.parametrize("changes", ["rename,twist", "", "rename,,shuffle"])
def test_unknown_changes_are_named(tmp_path: Path, changes: str):
    with pytest.raises(UserError, match="expected some of rename, distractors, shuffle"):
        parse_changes(changes)
