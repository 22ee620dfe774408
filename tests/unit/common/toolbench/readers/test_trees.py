"""The answer trees' reader: Thoughts kept, giving up left out by name, one row per step."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.react import parse_step
from common.toolbench.readers.sources import SourceFile
from common.toolbench.readers.trees import read_tree
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import offered_functions
from tests.unit.common.toolbench.records import FUNCTION, call, quarantine, skipped, source, tree

SEEN = {"role": "function", "name": "look_for_a", "content": "seen"}
AGAIN = {"role": "user", "content": "This is not the first time", "valid": False}
FINISH = call("Finish", '{\n  "return_type": "give_answer",\n  "final_answer": "no give_up_and_restart"\n}')
GIVE_UP = call("Finish", '{\n  "return_type": "give_up_and_restart"\n}', "I can't")


def read(
    folder: Path, record: Any, skip_bad: bool = False, keep_give_up: bool = False
) -> tuple[list[PromptRow], dict[str, int]]:
    aside = quarantine(folder, skip_bad)
    return list(read_tree(source(folder / "7_DFS.json", record), aside, keep_give_up)), dict(aside.counts)


def test_content_beside_a_function_call_is_its_thought(tmp_path: Path):
    rows, counts = read(tmp_path, tree(call(content="I look"), SEEN, AGAIN, FINISH))
    first = "\nThought: I look\nAction: look_for_a\nAction Input: {}"
    assert rows[0].completion == first
    assert list(rows[1].turns[2:]) == [
        Turn("assistant", first),
        Turn("function", "seen"),
        Turn("user", "This is not the first time"),
    ]
    assert rows[1].completion.startswith("\nThought: \nAction: Finish\nAction Input: {\n")
    assert [(row.id, row.step, row.trace) for row in rows] == [("7_DFS/1", 1, "7_DFS"), ("7_DFS/2", 2, "7_DFS")]
    assert counts == {}


def test_text_and_the_call_after_it_are_one_step(tmp_path: Path):
    rows, counts = read(tmp_path, tree({"role": "assistant", "content": "I am done"}, FINISH))
    [row] = rows
    assert parse_step(row.completion or "").thought == "I am done"
    assert (row.step, len(row.turns), counts) == (1, 2, {})


def test_text_before_another_role_is_kept_in_the_history(tmp_path: Path):
    rows, _ = read(tmp_path, tree({"role": "assistant", "content": "let me think"}, AGAIN, FINISH))
    assert rows[0].turns[2] == Turn("assistant", "\nThought: let me think")


def test_the_system_prompt_offers_the_traces_functions(tmp_path: Path):
    rows, _ = read(tmp_path, tree(FINISH))
    system = rows[0].turns[0].content
    assert offered_functions(system) == [FUNCTION]
    assert "step. Your output should follow this format:\nThought:\nAction\nAction Input:\n\nYou have access" in system


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (tree(call(), SEEN, GIVE_UP), "give_up"),
        (tree(FINISH, valid=False), "not_valid"),
        ({"win": False, "answer_generation": {"valid_data": False}}, "not_valid"),
    ],
)
def test_paths_that_teach_nothing_are_left_out_by_name(tmp_path: Path, record: Any, reason: str):
    assert read(tmp_path, record) == ([], {reason: 1})


def test_a_path_that_ends_in_text_loses_that_message_alone(tmp_path: Path):
    rows, counts = read(tmp_path, tree(call(), SEEN, {"role": "assistant", "content": "so it is"}))
    assert (len(rows), counts) == (1, {"ends_without_action": 1})


def today(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    """A message as StableToolBench writes it."""
    tool_calls = [{"id": "call_0", "type": "function", "function": each["function_call"]} for each in calls]
    return {"role": "assistant", "content": content, "refusal": None, "function_call": None, "tool_calls": tool_calls}


def test_todays_trees_give_the_same_rows(tmp_path: Path):
    rows, _ = read(tmp_path, tree(call(content="I look"), SEEN, FINISH))
    path = (today(call(), content="I look"), SEEN | {"role": "tool", "tool_call_id": "call_0"}, today(FINISH))
    record = tree(*path)
    record["answer_generation"]["function"] = [{"type": "function", "function": FUNCTION}]
    assert read(tmp_path, record) == (rows, {})


def test_each_parallel_call_is_a_step(tmp_path: Path):
    """Such a message's path is recorded once per call; the second's observation is in the path that follows."""
    both = today(call(arguments='{"a": 1}'), call(arguments='{"a": 2}'), content="I look twice")
    record = tree(both, SEEN | {"content": "one"}, SEEN | {"content": "two"}, today(FINISH))
    paths = record["answer_generation"]["train_messages"]
    record["answer_generation"]["train_messages"] = [paths[0], paths[0], paths[1]]
    rows, counts = read(tmp_path, record)
    steps = [parse_step(row.completion or "") for row in rows]
    assert [(step.thought, step.action_input[:8]) for step in steps[:2]] == [
        ("I look twice", '{"a": 1}'),
        ("", '{"a": 2}'),
    ]
    assert [turn.content for turn in rows[2].turns[2:]] == [rows[0].completion, "one", rows[1].completion, "two"]
    assert [rows[1].turns, counts] == [rows[2].turns[:4], {}]


def test_a_call_behind_one_without_observation_is_counted(tmp_path: Path):
    rows, counts = read(tmp_path, tree(call(), SEEN, today(call(), FINISH)))
    assert (len(rows), counts) == (2, {"no_observation": 1})


def test_what_gives_up_is_kept_when_asked_for(tmp_path: Path):
    for end in (GIVE_UP, today(GIVE_UP)):
        rows, counts = read(tmp_path, tree(call(), SEEN, end), keep_give_up=True)
        assert (len(rows), counts) == (2, {})
        assert read(tmp_path, tree(call(), SEEN, end)) == ([], {"give_up": 1})


def test_missing_numbers_of_an_api_are_none(tmp_path: Path):
    [row], _ = read(tmp_path, offering(FUNCTION | {"example_value": float("nan")}))
    assert offered_functions(row.turns[0].content) == [FUNCTION | {"example_value": None}]


def offering(function: dict[str, Any]) -> dict[str, Any]:
    record = tree(FINISH)
    record["answer_generation"]["function"] = [function]
    return record


NO_ARGUMENTS = {"role": "assistant", "function_call": {"name": "f"}}


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        ({"win": True}, "missing_field", "'answer_generation' is missing"),
        (tree(), "no_target", "has no step with a function call"),
        (tree({"role": "human", "content": "x"}, FINISH), "unknown_role", r"s\[0\]\[2\].role': got the role"),
        (tree(NO_ARGUMENTS), "missing_field", r"\[2\].function_call.arguments' is missing"),
        (tree({"role": "user", "content": "half \ud83d"}, FINISH), "bad_text", "half a character"),
        (tree({"role": "function", "content": None}, FINISH), "wrong_type", r"\[2\].content' holds None"),
        ({"answer_generation": {"valid_data": True, "query": "q", "function": []}}, "missing_field", "train_messages"),
        (offering({}), "missing_field", r"function\[0\].name' is missing"),
        (offering({"name": "f", "parameters": 1}), "unreadable_apis", "f.parameters' holds a whole number"),
    ],
)  # fmt: skip
def test_broken_trees_are_named_with_their_field(tmp_path: Path, record: Any, reason: str, message: str):
    with pytest.raises(UserError, match=rf"7_DFS\.json: .*{message}"):
        read(tmp_path, record)
    assert read(tmp_path, record, skip_bad=True) == ([], {reason: 1})
    assert skipped(tmp_path)[0]["reason"] == reason


def test_broken_json_is_named(tmp_path: Path):
    file = source(tmp_path / "7.json", {})
    file.path.write_text('{"win": true, ')
    with pytest.raises(UserError, match=r"7\.json: broken JSON"):
        list(read_tree(file, quarantine(tmp_path)))


def test_every_recorded_thought_is_in_its_row(shared_data: Path, tmp_path: Path):
    thoughts = 0
    for path in sorted(shared_data.glob("*ToolBench/data_example/answer/**/*.json")):
        answer = json.loads(path.read_bytes())["answer_generation"]
        rows = list(read_tree(SourceFile(path, path.stem, "real"), quarantine(tmp_path)))
        if not rows:
            assert not answer["valid_data"] or "give_up" in answer["final_answer"]
            continue
        ends = [messages for messages in answer["train_messages"] if "function_call" in messages[-1]]
        for row, messages in zip(rows, ends, strict=True):
            said = [message["content"] for message in messages if message.get("content")]
            text = "".join(turn.content for turn in row.turns) + (row.completion or "")
            assert all(words in text for words in said[1:])
            assert parse_step(row.completion or "").action == messages[-1]["function_call"]["name"]
            thoughts += bool(parse_step(row.completion or "").thought)
    assert thoughts == 12
