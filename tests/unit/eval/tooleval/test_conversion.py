"""The converter: StableToolBench's own files to the last byte, both forms of trees, and paths without Finish."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.toolbench.fields import BadRecord
from eval.tooleval.answers import Answer, Node, read_answer
from eval.tooleval.conversion import of_tree
from tests.unit.eval.tooleval.made import call, finished

FUNCTIONS = [{"name": "f"}, {"name": "Finish"}]


def example(shared_data: Path) -> Path:
    return shared_data / "StableToolBench" / "data_example"


def converted(folder: Path) -> dict[str, Answer]:
    files = list(folder.rglob("*.json"))
    assert len(files) == 3
    names = {file: file.stem.partition("_") for file in files}
    return {query: of_tree(json.loads(file.read_text()), method, 0) for file, (query, _, method) in names.items()}


def test_cot_is_converted_as_the_source_does(shared_data: Path):
    file = example(shared_data) / "model_predictions_converted" / "virtual_chatgpt_cot" / "G1_instruction.json"
    expected = json.loads(file.read_text())
    answers = converted(example(shared_data) / "answer" / "virtual_chatgpt_cot")
    assert {query: json.dumps(answer.record()) for query, answer in answers.items()} == {
        query: json.dumps(record) for query, record in expected.items()
    }
    assert {query: read_answer(record, query) for query, record in expected.items()} == answers
    assert {query: answer.finishes for query, answer in answers.items()} == {"588": False, "608": True, "1073": True}


def test_dfs_has_the_steps_that_the_source_compared(shared_data: Path):
    """No converted file of DFS's is published, but its steps stand beside the preferences."""
    [file] = (example(shared_data) / "preference_results").glob("*.csv")
    rows = {row["query_id"]: row for row in csv.DictReader(file.open(newline=""), delimiter="\t")}
    for agent, column in (("dfs", "output_model"), ("cot", "ref_model")):
        for query, answer in converted(example(shared_data) / "answer" / f"virtual_chatgpt_{agent}").items():
            calls = [str(node.message) for node in answer.path if node.role == "tool"]
            steps = "\n".join(f"Step {number}: {said}" for number, said in enumerate(calls, 1))
            assert steps == rows[query][f"{column}_intermediate_steps"]
            assert f"Final step: {calls[-1]}" == rows[query][f"{column}_final_step"]


def tree(**parts: Any) -> dict[str, Any]:
    generated = {"query": "q", "function": FUNCTIONS, "final_answer": "", "valid_data": False, "train_messages": []}
    return {"answer_generation": generated | parts.pop("generated", {})} | parts


def node(kind: str, said: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"node_type": kind, "description": said, "children": list(children)} | more


def step(thought: str, name: str, *children: dict[str, Any]) -> dict[str, Any]:
    given = node("Action Input", "{}", *children, observation=f"{name}!")
    return node("Thought", thought, node("Action", name, given))


def test_parallel_calls_of_today_have_their_own_responses():
    calls = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "fg"]
    end = {"id": "e", "function": {"name": "Finish", "arguments": '{"final_answer": "a"}'}}
    path = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "beside", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "g", "content": "of g"},
        {"role": "tool", "tool_call_id": "f", "content": "of f"},
        {"role": "user", "content": "said before"},
        {"role": "assistant", "content": "alone"},
        {"role": "assistant", "content": None, "tool_calls": [end, calls[0]]},
    ]
    answer = of_tree(tree(generated={"valid_data": True, "train_messages": [path]}), "DFS", 0)
    assert answer.path == (
        Node("tool", {"name": "f", "arguments": "{}", "response": "of f"}),
        Node("tool", {"name": "g", "arguments": "{}", "response": "of g"}),
        Node("assistant", "alone"),
        Node("tool", {"name": "Finish", "arguments": '{"final_answer": "a"}', "response": ""}),
    )
    assert answer.total_steps == 6


def test_an_invalid_try_is_drawn_and_its_thoughts_are_nodes():
    flat = [node("Thought", "t"), node("Action", "f"), node("Action Input", "{}", observation="o")]
    made = tree(trys=[{"chain": flat}, {"chain": [node("Thought", "other")]}])
    drawn = [of_tree(made, "CoT@2", seed).path for seed in range(20)]
    first = (Node("assistant", "t"), Node("tool", {"name": "f", "arguments": "{}", "response": "o"}))
    second = (Node("assistant", "other"),)
    assert first in drawn
    assert second in drawn
    assert all(path in (first, second) for path in drawn)
    assert of_tree(made, "CoT@2", 3) == of_tree(made, "CoT@2", 3)
    assert of_tree(tree(trys=[]), "CoT@2", 0).path == ()


def test_an_invalid_tree_is_walked_to_a_leaf():
    root = node("Action Input", "", step("a", "f", step("b", "g"), step("c", "h")))
    paths = [of_tree(tree(tree={"tree": root}), "DFS", seed).path for seed in range(20)]
    named = {
        tuple(each.message if each.role == "assistant" else each.message["name"] for each in path) for path in paths
    }
    assert named == {("a", "f", "b", "g"), ("a", "f", "c", "h")}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, "answer_generation' is missing"),
        (tree(generated={"valid_data": True}), "has no path"),
        (tree(generated={"valid_data": True, "train_messages": [["text"]]}), r"train_messages\[0\]\[0\] is a string"),
        (tree(generated={"function": None}, trys=[]), "expected a list"),
        (tree(), "the field 'tree' is missing"),
        (tree(trys=[{"chain": [node("Action", "f")]}]), "'Action' stands alone"),
        (tree(trys=[{"chain": [node("Action Input", "{}")]}]), "'Action Input' stands alone"),
        (tree(trys=[{"chain": ["text"]}]), "expected an object"),
    ],
)
def test_what_is_no_tree_is_named(made: dict[str, Any], said: str):
    with pytest.raises(BadRecord, match=said):
        of_tree(made, "DFS", 0)


def test_only_a_last_call_of_finish_finishes():
    """An agent that calls Finish badly and goes on has not finished."""
    done = finished()
    assert done.finishes
    assert replace(done, path=(*done.path, Node("assistant", "said"))).finishes
    assert not replace(done, path=(*done.path, call("look_up"))).finishes
    assert not replace(done, path=()).finishes


def test_published_files_with_messages_as_text_are_read():
    record = finished().record()
    [system] = record["answer"]["answer_details"]
    called = system["next"][0]["next"][0]
    called["next"][0]["message"] = str(called["next"][0]["message"])[:100]
    answer = read_answer(record, "1")
    assert answer.finishes
    assert answer.path[1].message.startswith("{'name': 'Finish'")


@pytest.mark.parametrize(
    ("final_answer", "said"),
    [
        ("", ""),
        ('{"return_type": "give_up_and_restart"}', ""),
        ('{"return_type": "give_answer", "final_answer": " "}', ""),
        ('{"return_type": "give_answer", "final_answer": "Yes."}', "Yes."),
        ('{"return_type": "give_answer"}', ""),
        ("no JSON", "no JSON"),
    ],
)
def test_what_the_user_is_told(final_answer: str, said: str):
    assert Answer("q", [], "m", final_answer, ()).said == said
