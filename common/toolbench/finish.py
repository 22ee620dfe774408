"""Finish, the call by which an agent ends with an answer or gives up, and what ToolBench's environment says to it."""

import json
from typing import NamedTuple

from common.toolbench.react import Step, read_object
from common.toolbench.status import Status

NAME = "Finish"
GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"
GIVING_UP = "I give up and restart"
"""What ToolBench's system prompt has an agent say that does."""


class Finished(NamedTuple):
    """What a call of Finish brings: its observation, its status, and the final answer where there is one."""

    text: str
    status: Status
    answer: str | None = None


def finish_with(answer: str, thought: str = "") -> Step:
    """The step that gives `answer`."""
    arguments = {"return_type": GIVE_ANSWER, "final_answer": answer}
    return Step(thought, NAME, json.dumps(arguments, ensure_ascii=False))


def said_to_user(step: Step) -> str | None:
    """What the user is told by a step that ends: its answer, or ToolBench's words for giving up; None by a call."""
    given = read_object(step.action_input) if step.action.strip() == NAME else None
    if given is None:
        return None
    if given.get("return_type") == GIVE_UP:
        return GIVING_UP
    answer = given.get("final_answer", "")
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def finish(arguments: str) -> Finished:
    """Answer a call of Finish with `arguments`. Whatever isn't a final answer or a restart is bad input."""
    given = read_object(arguments)
    kind = None if given is None else given.get("return_type")
    if given is None:
        return _refused("the input is no JSON object")
    if kind == GIVE_UP:
        return Finished('{"response":"chose to give up and restart"}', Status.GAVE_UP)
    if kind != GIVE_ANSWER:
        return _refused(f'"return_type" must be "{GIVE_ANSWER}" or "{GIVE_UP}"')
    if not isinstance(given.get("final_answer"), str):
        return _refused('must have "final_answer", a string')
    return Finished('{"response":"successfully giving the final answer."}', Status.FINISHED, given["final_answer"])


def _refused(why: str) -> Finished:
    return Finished(json.dumps({"error": why, "response": ""}), Status.BAD_INPUT)
