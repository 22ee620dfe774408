"""Reader of answer trees (`<query id>_ChatGPT_DFS_woFilter_w2.json`, and CoT's, which have `trys` for `tree`).

Rows come from `answer_generation`: `train_messages` holds the valid path, one list of messages per assistant message,
and `function` the offered functions. The rules, where ToolBench leaves them open or errs:
- a path without `valid_data` gives no row ("not_valid");
- a path that ends by giving up gives no row ("give_up"): trees mark it valid too, but it teaches to give up;
- text beside a function call is its Thought (ToolBench's own script drops it, as it drops text before another role);
- text alone followed by a function call is one step with it; a path that ends with text alone is counted for that last
  message ("ends_without_action"), its other steps are kept.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord, items, take
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import THOUGHT, Step, render_step
from common.toolbench.rows import PromptRow, Turn, check_role
from common.toolbench.sources import SourceFile
from common.toolbench.system_prompt import complete_system_message

GIVE_UP = re.compile(r'"return_type"\s*:\s*"give_up_and_restart"')


def read_tree(file: SourceFile, quarantine: Quarantine) -> Iterator[PromptRow]:
    """One row per step of the tree's valid path."""
    try:
        answer = take(_load(file), "answer_generation", dict)
        if not take(answer, "valid_data", bool, "answer_generation"):
            return quarantine.leave_out("not_valid", str(file.path))
        rows = _rows(file, answer)
    except BadRecord as error:
        return quarantine.refuse(error, str(file.path))
    if _gives_up(answer["train_messages"]):
        return quarantine.leave_out("give_up", str(file.path))
    if "function_call" not in answer["train_messages"][-1][-1]:
        quarantine.leave_out("ends_without_action", str(file.path))
    yield from rows


def _load(file: SourceFile) -> Any:
    try:
        return json.loads(file.path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"broken JSON ({error})") from None


def _rows(file: SourceFile, answer: dict[str, Any]) -> list[PromptRow]:
    query = take(answer, "query", str, "answer_generation")
    functions = take(answer, "function", list, "answer_generation")
    paths = [
        _turns(place, messages, functions)
        for place, messages in items(answer, "train_messages", "answer_generation")
        if _ends_with_call(place, messages)
    ]
    if not paths:
        raise BadRecord("no_target", "the field 'answer_generation.train_messages' has no step with a function call")
    return [
        PromptRow(f"{file.name}/{step}", query, path[:-1], path[-1].content, file.name, step, file.group)
        for step, path in enumerate(paths, start=1)
    ]


def _ends_with_call(place: str, messages: Any) -> bool:
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise BadRecord("wrong_type", f"the field {place!r} is not a list of messages")
    return "function_call" in messages[-1]


def _turns(place: str, messages: list[Any], functions: list[Any]) -> tuple[Turn, ...]:
    """The messages as turns; text alone waits for the function call that follows it."""
    turns: list[Turn] = []
    thoughts: list[str] = []
    for index, message in enumerate(messages):
        inside = f"{place}[{index}]"
        role = _role(message, inside)
        if role == "assistant":
            thoughts += [take(message, "content", str, inside)] if message.get("content") else []
            if "function_call" not in message:
                continue
            turns.append(Turn("assistant", render_step(_step(message, thoughts, inside))))
        else:
            turns += [Turn("assistant", f"\n{THOUGHT}{_join(thoughts)}")] if thoughts else []
            content = take(message, "content", str, inside)
            turns.append(Turn(role, complete_system_message(content, functions) if role == "system" else content))
        thoughts = []
    return tuple(turns)


def _role(message: Any, inside: str) -> Any:
    role = take(message, "role", str, inside)
    try:
        return check_role(role)
    except UserError as error:
        raise BadRecord("unknown_role", f"the field '{inside}.role': {error}") from None


def _step(message: dict[str, Any], thoughts: list[str], inside: str) -> Step:
    call = take(message, "function_call", dict, inside)
    inside += ".function_call"
    return Step(_join(thoughts), take(call, "name", str, inside), take(call, "arguments", str, inside))


def _join(thoughts: list[str]) -> str:
    """Several thoughts before one action, as ToolBench writes them."""
    return f"\n{THOUGHT}".join(thoughts)


def _gives_up(paths: list[list[dict[str, Any]]]) -> bool:
    call = next(path[-1]["function_call"] for path in reversed(paths) if "function_call" in path[-1])
    return call["name"] == "Finish" and GIVE_UP.search(call["arguments"]) is not None
