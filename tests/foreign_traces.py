"""Traces of a generated tool world as other people have theirs: chats with tools in OpenAI's form, a line each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.toolbench.system_prompt import describe_api
from common.world.settings import WorldSettings
from common.world.splits import draw_splits
from common.world.tasks import Task
from common.world.traces import observation


def write_traces(folder: Path, train: int, held_out: int) -> None:
    """Write traces.jsonl, and held_out.jsonl with traces on tools that the former never has on offer."""
    settings = WorldSettings(train_tasks=train, query_tasks=0, evaluation_tasks=held_out, corpus_documents=0)
    splits = draw_splits(settings)
    _write(folder / "traces.jsonl", splits["train"])
    _write(folder / "held_out.jsonl", splits["unseen_tool"])


def chat(task: Task) -> dict[str, Any]:
    """One trace: a call at a time, each with its thought, and the answer."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": task.query}]
    for number, call in enumerate(task.calls):
        function = {"name": call.api.function, "arguments": json.dumps(call.arguments)}
        calls = [{"id": f"call_{number}", "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": call.thought, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": observation(call)})
    messages.append({"role": "assistant", "content": task.answer})
    tools = [{"type": "function", "function": describe_api(api.to_record(), "api")} for api in task.apis]
    return {"messages": messages, "tools": tools}


def _write(file: Path, tasks: Iterable[Task]) -> None:
    file.write_text("".join(json.dumps(chat(task)) + "\n" for task in tasks))
