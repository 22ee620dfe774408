"""Rows as TxAgent's samples: JSON Lines of `{"id", "messages", "tools"}`, one per row, its target the last message.

The form is that of `readers.txagent`. Calls of the history and their results carry a `call_id`, targets don't. `weight`
0 marks the history, so that `convert` makes the same rows of it again.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import file_in_place
from common.toolbench.fields import BadRecord
from common.toolbench.finish import GIVING_UP, NAME, said_to_user
from common.toolbench.functions import Record, required_parameters
from common.toolbench.openai_messages import Message, to_openai
from common.toolbench.react import ParseError, parse_step, read_object, split_reasoning, with_reasoning
from common.toolbench.readers.txagent import ANSWER, CALLS
from common.toolbench.rows import PromptRow, read_rows

FINISH = {"name": NAME, "description": "End, behind the answer.", "parameter": {"type": "object", "properties": {}}}


def export(rows: Path, out: Path) -> dict[str, Any]:
    """Write the rows of the folder `rows` into the file `out`; returns how many, and why others were left out.

    Raises UserError when a row can't be read, `out` can't be written or is there, or no row has this form.
    """
    if out.exists():
        raise UserError(f"{out} is there already; give another file or remove it")
    left_out: Counter[str] = Counter()
    samples, written = _samples(rows, left_out), 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with file_in_place(out) as draft, draft.open("w", encoding="utf-8") as file:
            for sample in samples:
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")
                written += 1
            if not written:
                raise UserError(f"{rows} has no row that TxAgent's form can hold; left out: {dict(left_out)}")
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror}; give a file in a folder that can be written") from None
    return {"rows": written, "left_out": dict(left_out)}


def _samples(rows: Path, left_out: Counter[str]) -> Iterator[Record]:
    for row in read_rows(rows):
        try:
            yield to_txagent(row)
        except BadRecord as error:
            left_out[error.reason] += 1


def to_txagent(row: PromptRow) -> Record:
    """The row as a sample.

    Raises BadRecord: "nothing_recorded" without a completion, "no_functions" where its prompt offers none, and where
    TxAgent has no form for a step: "gives_up", "bad_arguments", "holds_a_mark".
    """
    if row.completion is None:
        raise BadRecord("nothing_recorded", f"row {row.id} has no completion")
    chat = to_openai(row.turns)
    if not chat.functions:
        raise BadRecord("no_functions", f"row {row.id} offers no functions")
    steps = (turn.content for turn in row.turns if turn.role == "assistant")
    messages = [_message(message, steps) for message in chat.messages]
    target = {"role": "assistant", "content": _trace(row.completion, {})}
    return {"id": row.id, "messages": [*messages, target], "tools": [*map(_described, chat.functions), FINISH]}


def _message(message: Message, steps: Iterator[str]) -> Message:
    """A message of the history; the assistant's says the next of `steps`."""
    if message["role"] == "assistant":
        ids = [{"call_id": call["id"]} for call in message.get("tool_calls", ())]
        return {"role": "assistant", "content": _trace(next(steps), *ids or [{}]), "weight": 0}
    if message["role"] != "tool":
        return message
    id = {"call_id": message["tool_call_id"]} if "tool_call_id" in message else {}
    return {"role": "tool", "content": json.dumps({"content": message["content"]} | id, ensure_ascii=False)}


def _trace(text: str, id: dict[str, str]) -> str:
    """The assistant's `text` as a trace, its call with `id`."""
    reasoning, rest = split_reasoning(text)
    try:
        step = parse_step(rest)
    except ParseError:
        return text
    said, answer = step.thought, said_to_user(step)
    call = {"name": step.action.strip(), "arguments": read_object(step.action_input)}
    if call["arguments"] is None:
        raise BadRecord("bad_arguments", f"the arguments of {step.action!r} aren't a JSON object")
    if answer == GIVING_UP:
        raise BadRecord("gives_up", "a step gives up")
    if any(mark in part for mark in (CALLS, ANSWER) for part in (step.thought, answer or "")):
        raise BadRecord("holds_a_mark", f"a step says {CALLS} or {ANSWER} itself")
    if answer is not None:
        said, call = f"{step.thought}\n\n{ANSWER} {answer}", {"name": NAME, "arguments": {}}
    return with_reasoning(reasoning, f"{said}{CALLS}{json.dumps([call | id], ensure_ascii=False)}")


def _described(function: Record) -> Record:
    """The function as ToolUniverse describes it."""
    required = required_parameters(function)
    properties = (function.get("parameters") or {}).get("properties") or {}
    marked = {
        name: (each if isinstance(each, dict) else {}) | {"required": name in required}
        for name, each in properties.items()
    }
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "parameter": {"type": "object", "properties": marked},
    }
