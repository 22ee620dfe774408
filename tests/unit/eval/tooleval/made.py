"""Answers made by hand, and a judge that says what a test tells it to."""

import json
from collections.abc import Callable
from typing import Any

from eval.tooleval.answers import Answer, Node
from eval.tooleval.procedure import Item
from eval.tooleval.prompts import LABELS, Kind

TOOLS = [{"name": "look_up", "description": "d", "parameters": {"type": "object", "properties": {}}}]


def call(name: str, arguments: str = "{}", response: str = "found") -> Node:
    return Node("tool", {"name": name, "arguments": arguments, "response": response})


def finished(answer: str = "It is 3.", query: str = "How many?") -> Answer:
    """An answer that looks something up and finishes with `answer`."""
    arguments = json.dumps({"return_type": "give_answer", "final_answer": answer})
    return Answer(query, TOOLS, "CoT@1", arguments, (call("look_up"), call("Finish", arguments, "")))


def gave_up() -> Answer:
    arguments = json.dumps({"return_type": "give_up_and_restart"})
    return Answer("How many?", TOOLS, "CoT@1", arguments, (call("look_up"), call("Finish", arguments, "")))


def cut_off(found: str = "found") -> Answer:
    return Answer("How many?", TOOLS, "CoT@1", "", (call("look_up", response=found),))


def item(answer: Answer, agent: str = "kd", query: str = "1") -> Item:
    return Item(agent, "G1", query, answer)


class ScriptedJudge:
    """Says `script(kind, round, fields)`, and keeps what it was asked."""

    def __init__(self, script: Callable[[Kind, int, dict[str, str]], str]) -> None:
        self._script = script
        self.asked: list[tuple[Kind, str, dict[str, str]]] = []

    async def label(self, kind: Kind, place: str, **fields: str) -> str:
        self.asked.append((kind, place, fields))
        said = self._script(kind, int(place.rpartition("/")[2]), fields)
        assert said in LABELS[kind]
        return said

    def kinds(self) -> list[Kind]:
        return [kind for kind, *_ in self.asked]


def by_kind(**labels: Any) -> ScriptedJudge:
    """A judge with one label per kind, or a sequence of them by round."""

    def script(kind: Kind, number: int, fields: dict[str, str]) -> str:
        said = labels[kind]
        return said if isinstance(said, str) else said[number]

    return ScriptedJudge(script)
