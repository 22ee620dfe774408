"""Tasks as ToolBench's records: toolllama conversations, one per step of a solution, and query records."""

import json
from typing import Any

from common.toolbench.names import function_name
from common.toolbench.react import Step, render_step
from common.toolbench.system_prompt import build_system_prompt
from common.world.tasks import Call, Task
from common.world.tools import Api

Record = dict[str, Any]


def function_of(api: Api) -> str:
    """Return the name under which a prompt offers `api`."""
    return function_name(api.name, api.tool)


def system_prompt(task: Task) -> str:
    """Return the prompt that offers the task's APIs; as in query records, tools stand there without description."""
    return build_system_prompt([api.to_record() for api in task.apis], {})


def observation(call: Call) -> str:
    """Return what a prompt shows of a call's response."""
    return json.dumps({"error": "", "response": str(call.response)})


def conversations(task: Task) -> list[Record]:
    """Return the task's toolllama records: record n ends with the assistant's turn n."""
    turns = [_turn("system", system_prompt(task)), _turn("user", f"\n{task.query}\nBegin!\n")]
    records = []
    for number, step in enumerate(_steps(task), start=1):
        turns.append(_turn("assistant", render_step(step)))
        records.append({"id": f"Step {number}: {task.query}", "conversations": list(turns)})
        if number <= len(task.calls):
            turns.append(_turn("function", observation(task.calls[number - 1])))
    return records


def query_record(task: Task, query_id: int) -> Record:
    """Return the task as a query record, without its solution."""
    return {
        "api_list": [api.to_record() for api in task.apis],
        "query": task.query,
        "relevant APIs": [[call.api.tool, call.api.name] for call in task.calls],
        "query_id": query_id,
    }


def _steps(task: Task) -> list[Step]:
    steps = [Step(call.thought, function_of(call.api), json.dumps(call.arguments)) for call in task.calls]
    finish = {"return_type": "give_answer", "final_answer": task.answer}
    return [*steps, Step(task.closing_thought, "Finish", json.dumps(finish))]


def _turn(role: str, value: str) -> dict[str, str]:
    return {"from": role, "value": value}
