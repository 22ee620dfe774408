"""Finish, the call by which an agent ends: with its answer, or by giving up."""

import json

from common.toolbench.react import Step, read_object

NAME = "Finish"
GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"
GIVING_UP = "I give up and restart"
"""What ToolBench's system prompt has an agent say that does."""


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
