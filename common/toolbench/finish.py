"""Finish, the call by which an agent ends: with its answer, or by giving up."""

import json

from common.toolbench.react import Step, read_object

NAME = "Finish"
GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"


def finish_with(answer: str, thought: str = "") -> Step:
    """The step that gives `answer`."""
    arguments = {"return_type": GIVE_ANSWER, "final_answer": answer}
    return Step(thought, NAME, json.dumps(arguments, ensure_ascii=False))


def final_answer(name: str, arguments: str) -> str | None:
    """The answer that a call gives; None where it is no Finish that gives one."""
    given = read_object(arguments) if name == NAME else None
    if given is None or given.get("return_type") != GIVE_ANSWER:
        return None
    answer = given.get("final_answer", "")
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
