"""Tasks as ToolBench's records: toolllama conversations, one per step of a solution, and query records."""

import json
from collections.abc import Iterable
from typing import Any

from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import build_system_prompt
from common.world.catalogue import Api
from common.world.responses import FAILURES, failure, success
from common.world.tasks import Call, Task

Record = dict[str, Any]


def system_prompt(apis: Iterable[Api]) -> str:
    """Return the prompt that offers `apis`; as in query records, tools stand there without description."""
    return build_system_prompt([api.to_record() for api in apis], {})


def opening(apis: Iterable[Api], query: str) -> list[Turn]:
    """Return the turns that an episode begins with."""
    return [Turn("system", system_prompt(apis)), Turn("user", f"\n{query}\nBegin!\n")]


def observation(call: Call) -> str:
    """Return what a prompt shows of a recorded call."""
    return failure(FAILURES[call.api.status]) if call.api.status in FAILURES else success(call.response)


def conversations(task: Task) -> list[Record]:
    """Return the task's toolllama records: record n ends with the assistant's turn n."""
    turns = [_turn(turn.role, turn.content) for turn in opening(task.apis, task.query)]
    records = []
    for number, step in enumerate(solution(task), start=1):
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


def solution(task: Task) -> list[Step]:
    """Return the steps that solve the task, Finish last."""
    steps = [Step(call.thought, call.api.function, json.dumps(call.arguments)) for call in task.calls]
    finish = {"return_type": "give_answer", "final_answer": task.answer}
    return [*steps, Step(task.closing_thought, "Finish", json.dumps(finish))]


def floors(task: Task) -> list[float]:
    """Return, for each step of `solution`, how surprising it is to whoever knows the world's odds, in nats.

    That is the negative log-probability of the wording that was drawn; its mean over rows estimates the entropy, and
    what a model's loss has above it the model's own distance. Everything else in a step follows from its prompt, but
    for one thing: where a call fails (difficulty `full`), which of two APIs that tell the same fails isn't told before.
    """
    return [*(call.nats for call in task.calls), task.closing_nats]


def _turn(role: str, value: str) -> dict[str, str]:
    return {"from": role, "value": value}
