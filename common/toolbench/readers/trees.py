"""Reader of answer trees (`<query id>_ChatGPT_DFS_woFilter_w2.json`, and CoT's, which have `trys` for `tree`).

Rows come from `answer_generation`: `train_messages` holds the valid path, a list of messages per call that ends with
the call's own message, and `function` the offered functions. StableToolBench writes calls as OpenAI's `tool_calls`
today, several in one message where they are parallel. The rules, where ToolBench leaves them open or errs:
- a path without `valid_data` gives no row ("not_valid");
- a path that ends by giving up gives no row ("give_up") unless it is asked for: trees mark it valid too, and ToolBench
  trains on it, but it teaches to give up;
- each call is a step; of parallel calls those behind one without a recorded observation are left out
  ("no_observation");
- text beside a call is its Thought (ToolBench's own script drops it, as it drops text before another role);
- text alone followed by a call is one step with it; a path that ends with text alone is counted for that last message
  ("ends_without_action"), its other steps are kept.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, takewhile, zip_longest
from typing import Any

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.functions import plain_function
from common.toolbench.quarantine import Quarantine
from common.toolbench.react import parse_step
from common.toolbench.readers.calls import Message, calls_of
from common.toolbench.readers.messages import to_turns
from common.toolbench.readers.sources import SourceFile
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import complete_system_message, offered_functions

GIVE_UP = re.compile(r'"return_type"\s*:\s*"give_up_and_restart"')


@dataclass(frozen=True)
class _Path:
    """Messages up to one of the assistant's, which holds `calls` calls, and the observations recorded behind it."""

    place: str
    messages: list[Message]
    calls: int
    observations: list[Message]

    @property
    def steps(self) -> int:
        """How many of the calls are steps: the first, and one behind each observation."""
        return min(self.calls, 1 + len(self.observations))


def read_tree(file: SourceFile, quarantine: Quarantine, keep_give_up: bool = False) -> Iterator[PromptRow]:
    """One row per step of the tree's valid path."""
    place = str(file.path)
    try:
        answer = take(_load(file), "answer_generation", dict)
        if not take(answer, "valid_data", bool, "answer_generation"):
            return quarantine.leave_out("not_valid", place)
        query, paths = take(answer, "query", str, "answer_generation"), _paths(answer)
        steps = _steps(answer, paths)
    except BadRecord as error:
        return quarantine.refuse(error, place)
    if not keep_give_up and _gives_up(steps[-1][-1].content):
        return quarantine.leave_out("give_up", place)
    if not paths[-1].calls:
        quarantine.leave_out("ends_without_action", place)
    for path in paths:
        for _ in range(path.calls - path.steps):
            quarantine.leave_out("no_observation", f"{place}, {path.place}")
    for step, turns in enumerate(steps, start=1):
        yield PromptRow(f"{file.name}/{step}", query, turns[:-1], turns[-1].content, file.name, step, file.group)


def _load(file: SourceFile) -> Any:
    """The whole tree; NaN, which its API records hold where a value is missing, is None."""
    try:
        return json.loads(file.path.read_bytes(), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"broken JSON ({error})") from None


def _paths(answer: Message) -> list[_Path]:
    """The paths; parallel calls have written theirs once per call, which is one here."""
    found = [(place, _messages(place, path)) for place, path in items(answer, "train_messages", "answer_generation")]
    single = [next(copies) for _, copies in groupby(found, key=lambda path: path[1])]
    paths = []
    for (place, messages), following in zip_longest(single, single[1:]):
        calls = len(calls_of(messages[-1], f"{place}[{len(messages) - 1}]"))
        paths.append(_Path(place, messages, calls, _observations(messages[-1], following[1] if following else [])))
    return paths


def _messages(place: str, path: Any) -> list[Message]:
    if not isinstance(path, list) or not path or not isinstance(path[-1], dict):
        raise BadRecord("wrong_type", f"the field {place!r} is not a list of messages")
    return path


def _observations(message: Message, following: list[Message]) -> list[Message]:
    """The observations behind `message` in the path that follows its own."""
    if message not in following:
        return []
    behind = following[len(following) - following[::-1].index(message) :]
    return list(takewhile(lambda each: isinstance(each, dict) and each.get("role") in ("function", "tool"), behind))


def _steps(answer: Message, paths: list[_Path]) -> list[tuple[Turn, ...]]:
    """The turns of each step, its own the last."""
    offered = items(answer, "function", "answer_generation")
    functions = [plain_function(function, place) for place, function in offered]
    steps: list[tuple[Turn, ...]] = []
    for path in paths:
        if path.calls:
            turns = to_turns([*path.messages, *path.observations[: path.calls - 1]], path.place)
            turns = [_complete(turn, functions) for turn in turns]
            ends = [index for index, turn in enumerate(turns, start=1) if turn.role == "assistant"]
            steps += [tuple(turns[:end]) for end in ends[-path.steps :]]
    if not steps:
        raise BadRecord("no_target", "the field 'answer_generation.train_messages' has no step with a function call")
    offered_functions(steps[0][0].content)
    return steps


def _complete(turn: Turn, functions: list[Message]) -> Turn:
    return replace(turn, content=complete_system_message(turn.content, functions)) if turn.role == "system" else turn


def _gives_up(completion: str) -> bool:
    step = parse_step(completion)
    return step.action == "Finish" and GIVE_UP.search(step.action_input) is not None
