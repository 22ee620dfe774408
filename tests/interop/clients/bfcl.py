"""bfcl-eval's multi-turn categories: `python bfcl.py TASK.json ANSWER.json`, where TASK's `do` names a function below.

Its own runner imports every provider's package, so what that does around data, handler and checker stands here.
"""

import ast
import json
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx2
from bfcl_eval.constants.category_mapping import MULTI_TURN_CATEGORY
from bfcl_eval.constants.enums import ModelStyle
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import is_empty_execute_response
from bfcl_eval.model_handler import base_handler
from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler
from bfcl_eval.model_handler.utils import convert_to_function_call, convert_to_tool
from bfcl_eval.utils import load_dataset_entry, load_ground_truth_entry
from openai import OpenAI, UnprocessableEntityError

Calls = list[dict[str, str]]
"""Of one step, each as its name and its arguments as JSON, which is how the handler keeps them."""
sent: list[dict[str, Any]] = []


@cache
def entries(category: str) -> dict[str, dict[str, Any]]:
    """A category's entries by id, each with its answers."""
    gold = {entry["id"]: entry["ground_truth"] for entry in load_ground_truth_entry(category)}
    return {entry["id"]: entry | {"gold": gold[entry["id"]]} for entry in load_dataset_entry(category)}


def gold(task: dict[str, Any]) -> dict[str, Any]:
    """By id, the gold calls of each turn; and by classes, the tools with which these are called, as OpenAI has them."""
    tools: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for entry in [entry for category in MULTI_TURN_CATEGORY for entry in entries(category).values()]:
        classes = ",".join(entry["involved_classes"])
        held = [function for functions in entry.get("missed_function", {}).values() for function in functions]
        functions = entry["function"] + held
        if classes not in tools:
            tools[classes] = convert_to_tool(functions, GORILLA_TO_OPENAPI, ModelStyle.OPENAI_COMPLETIONS)
        names = {function["name"]: list(function["parameters"]["properties"]) for function in functions}
        answers[entry["id"]] = {
            "classes": classes,
            "turns": [[call_of(written, names) for written in turn] for turn in entry["gold"]],
        }
    return {"tools": tools, "answers": answers}


def call_of(written: str, names: dict[str, list[str]]) -> dict[str, str]:
    """A gold call, which is Python, with its arguments by name as JSON."""
    call = ast.parse(written.strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    given = dict(zip(names[call.func.id], map(ast.literal_eval, call.args), strict=False))
    given |= {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
    return {call.func.id: json.dumps(given, ensure_ascii=False)}


def check(task: dict[str, Any]) -> dict[str, Any]:
    """By id, what the checker says of `results`: each turn's steps, which are calls or text. None: all right."""
    return {
        id: verdict(entries(id.rsplit("_", 1)[0])[id], turns, task["model"]) for id, turns in task["results"].items()
    }


def verdict(entry: dict[str, Any], turns: list[list[Calls | str]], model: str) -> str | None:
    """The kind of what is wrong, by the steps of the runner's `_evaluate_single_multi_turn_entry`."""
    if len(turns) != len(entry["gold"]):
        return "multi_turn:force_terminated"
    decoded = [[calls for step in turn if (calls := decoded_step(step))] for turn in turns]
    told = multi_turn_checker(decoded, entry["gold"], entry, entry["id"].rsplit("_", 1)[0], model)
    return None if told["valid"] else str(told["error_type"])


def decoded_step(step: Calls | str) -> list[str]:
    """The step's calls as Python; none where it is text."""
    try:
        calls = convert_to_function_call(step)
    except Exception:  # noqa: BLE001 - the runner takes whatever can't be decoded as text
        return []
    return [] if is_empty_execute_response(calls) else calls


def run(task: dict[str, Any]) -> dict[str, Any]:
    """By id, what the handler makes of a served model, and the checker of that.

    At most `steps` steps a turn: an entry that takes more has failed. At most `max_tokens` tokens a step.
    """
    base_handler.MAXIMUM_STEP_LIMIT = task["steps"] - 1
    handler = OpenAICompletionsHandler(task["model"], task["temperature"], f"{task['model']}-FC", is_fc_model=True)
    handler.client = OpenAI(http_client=httpx2.Client(event_hooks={"request": [keep]}), max_retries=0, timeout=600)
    handler.generate_with_backoff = partial(handler.generate_with_backoff, max_tokens=task["max_tokens"])
    told: dict[str, Any] = {}
    for id in task["ids"]:
        entry = entries(id.rsplit("_", 1)[0])[id]
        try:
            turns, _ = handler.inference(entry, include_input_log=False, exclude_state_log=True)
            told[id] = {"turns": turns, "wrong": verdict(entry, turns, f"{task['model']}-checked")}
        except UnprocessableEntityError as error:
            told[id] = {"turns": [], "wrong": f"refused: {error.message}"}
    return {"entries": told, "requests": len(sent), "first": sent[0], "last": sent[-1]}


def keep(request: httpx2.Request) -> None:
    """Remember what was sent."""
    sent.append(json.loads(request.content))


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    done = {"gold": gold, "check": check, "run": run}[asked["do"]](asked)
    Path(sys.argv[2]).write_text(json.dumps(done))
