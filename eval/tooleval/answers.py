"""Answers in ToolEval's converted format: `{query id: {query, available_tools, answer}}`.

An answer is `{method, total_steps, final_answer, answer_details: [{role, message, next: […]}]}`: the path's nodes, the
system's and the user's with empty messages first (OpenBMB/ToolBench, Apache-2.0, `tooleval/evaluation/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.toolbench import finish
from common.toolbench.fields import BadRecord, take
from common.toolbench.functions import Record
from common.toolbench.react import Step

OPENING = ("system", "user")
"""Roles of the nodes before the path."""


@dataclass(frozen=True)
class Node:
    """A call of a tool with its response, or what the assistant says."""

    role: str
    message: str | Record
    """A tool's has `name`, `arguments` (JSON text) and `response`; published files have some as text, cut short."""

    @property
    def is_finish(self) -> bool:
        """Whether it calls Finish."""
        if isinstance(self.message, str):
            return self.role == "tool" and f"'name': '{finish.NAME}'" in self.message
        return self.message.get("name") == finish.NAME


@dataclass(frozen=True)
class Answer:
    """What an agent did on a query, and what it answers."""

    query: str
    available_tools: Sequence[Record]
    method: str
    final_answer: str
    """Arguments of its last call of Finish, as written; empty without one."""
    path: tuple[Node, ...]

    @property
    def total_steps(self) -> int:
        """Nodes, those of system and user among them."""
        return len(OPENING) + len(self.path)

    @property
    def finishes(self) -> bool:
        """Whether its last call is Finish."""
        calls = [node for node in self.path if node.role == "tool"]
        return bool(calls) and calls[-1].is_finish

    @property
    def said(self) -> str:
        """What the user is told: nothing where the agent gives up, or has no answer."""
        if finish.GIVE_UP in self.final_answer:
            return ""
        said = finish.said_to_user(Step("", finish.NAME, self.final_answer))
        return (self.final_answer if said is None else said).strip()

    def record(self) -> Record:
        """The answer in ToolEval's format."""
        details: list[Record] = []
        opening = [Node(role, "") for role in OPENING]
        for node in reversed([*opening, *self.path]):
            details = [{"role": node.role, "message": node.message, "next": details}]
        answer = {"method": self.method, "total_steps": self.total_steps, "final_answer": self.final_answer}
        tools = list(self.available_tools)
        return {"query": self.query, "available_tools": tools, "answer": answer | {"answer_details": details}}


def read_answer(record: Any, place: str) -> Answer:
    """The answer back from ToolEval's format; of nodes that branch, the first path. Raises BadRecord."""
    answer = take(record, "answer", dict, place)
    inside = f"{place}.answer"
    return Answer(
        query=take(record, "query", str, place),
        available_tools=take(record, "available_tools", list, place),
        method=take(answer, "method", str, inside) if "method" in answer else "",
        final_answer=take(answer, "final_answer", str, inside),
        path=tuple(_path(take(answer, "answer_details", list, inside), f"{inside}.answer_details")),
    )


def _path(details: list[Any], place: str) -> list[Node]:
    nodes = []
    while details:
        role, message = take(details[0], "role", str, place), details[0].get("message")
        if role not in OPENING:
            if not isinstance(message, str | Mapping):
                raise BadRecord("wrong_type", f"{place}.message is neither text nor an object")
            nodes.append(Node(role, message if isinstance(message, str) else dict(message)))
        details = take(details[0], "next", list, place)
    return nodes
