"""Small records of ToolBench's three kinds, for the readers' tests."""

import json
from pathlib import Path
from typing import Any

from common.toolbench.quarantine import Quarantine
from common.toolbench.readers.sources import SourceFile

Record = dict[str, Any]

SYSTEM = (
    "At each step think, with a function call to actually excute your step.\nYou have access of the tools:\n1.a: None\n"
)
FUNCTION = {"name": "look_for_a", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}}
PROMPT = f"{SYSTEM}\nSpecifically, you have access to the following APIs: {[FUNCTION]}"


def conversation(query: str, steps: int, system: str = PROMPT) -> list[Record]:
    """The toolllama records of one trace: record n has n assistant turns."""
    turns = [{"from": "system", "value": system}, {"from": "user", "value": f"\n{query}\nBegin!\n"}]
    records = []
    for step in range(1, steps + 1):
        turns.append({"from": "assistant", "value": f"\nThought: {step}\nAction: look\nAction Input: {{}}"})
        records.append({"id": f"Step {len(turns) - 1}: {query}", "conversations": list(turns)})
        turns.append({"from": "function", "value": f"seen {step}"})
    return records


def query_record(query_id: int, **changes: Any) -> Record:
    api = {
        "category_name": "C",
        "tool_name": "A",
        "api_name": "Look",
        "api_description": "",
        "required_parameters": [],
        "optional_parameters": [],
    }
    return {"api_list": [api], "query": f"query {query_id}", "relevant APIs": [], "query_id": query_id} | changes


def call(name: str = "look_for_a", arguments: str = "{}", content: str | None = None) -> Record:
    return {"role": "assistant", "content": content, "function_call": {"name": name, "arguments": arguments}}


def tree(*messages: Record, valid: bool = True) -> Record:
    """An answer tree whose path is `messages` after the system's and the user's; one training path per assistant."""
    path = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\nq\nBegin!\n"}, *messages]
    ends = [index for index, message in enumerate(path, start=1) if message["role"] == "assistant"]
    answer = {
        "valid_data": valid,
        "query": "q",
        "function": [FUNCTION],
        "train_messages": [path[:end] for end in ends],
    }
    return {"win": True, "tree": {}, "answer_generation": answer}


def source(path: Path, content: Any) -> SourceFile:
    """`content` as a JSON file, ready for a reader."""
    path.write_text(json.dumps(content))
    return SourceFile(path, path.stem, "group")


def quarantine(folder: Path, skip_bad: bool = False) -> Quarantine:
    return Quarantine(folder / "skipped.jsonl", skip_bad)


def skipped(folder: Path) -> list[Record]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
