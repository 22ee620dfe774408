"""Calls of Finish: with an answer, or to give up, as ToolBench's environment answers them."""

import json
from typing import NamedTuple

from common.toolbench.status import Status

FINISH = "Finish"


class Finished(NamedTuple):
    """What a call of Finish brings: its observation, its status, and the final answer where there is one."""

    text: str
    status: Status
    answer: str | None = None


def finish(arguments: str) -> Finished:
    """Read the `arguments` of a call of Finish. Whatever isn't a final answer or a restart is bad input."""
    try:
        given = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return _refused("the input is not JSON")
    kind = given.get("return_type") if isinstance(given, dict) else None
    if kind == "give_up_and_restart":
        return Finished('{"response":"chose to give up and restart"}', Status.GAVE_UP)
    if kind != "give_answer":
        return _refused('"return_type" must be "give_answer" or "give_up_and_restart"')
    answer = given.get("final_answer")
    if not isinstance(answer, str):
        return _refused('must have "final_answer", a string')
    return Finished('{"response":"successfully giving the final answer."}', Status.FINISHED, answer)


def _refused(why: str) -> Finished:
    return Finished(json.dumps({"error": why, "response": ""}), Status.BAD_INPUT)
