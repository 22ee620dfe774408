"""Answer trees and trajectories as ToolEval's answers.

The rules are the source's (OpenBMB/ToolBench, Apache-2.0, `tooleval/convert_to_answer_format.py`), kept so that figures
can be compared:
- a path with `valid_data` comes from its last training messages: each call is a node, and text alone is one; text
  beside a call is left out; Finish has no response;
- without it, the path is one of the tries at random, or a random walk down the tree to a leaf: each Thought is a node,
  and each Action with its input. Here the draw follows from a seed and the query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from random import Random
from typing import Any

from common.agents.episodes import seed_of
from common.agents.search.tree import named_call_of
from common.agents.types import Trajectory
from common.toolbench import finish
from common.toolbench.fields import BadRecord, items, take
from common.toolbench.functions import Record
from common.toolbench.readers.calls import Call, Message, calls_of
from common.toolbench.system_prompt import split_system_prompt
from eval.tooleval.answers import Answer, Node


def of_tree(tree: Any, method: str, seed: int) -> Answer:
    """The answer in an answer tree, DFS's or CoT's. Raises BadRecord."""
    generated = take(tree, "answer_generation", dict)
    query = take(generated, "query", str, "answer_generation")
    if take(generated, "valid_data", bool, "answer_generation"):
        path = _of_messages(generated)
    else:
        path = _of_tree_nodes(_drawn(tree, Random(seed_of(seed, query))))
    return Answer(
        query=query,
        available_tools=[function for _, function in items(generated, "function", "answer_generation")],
        method=method,
        final_answer=take(generated, "final_answer", str, "answer_generation"),
        path=tuple(path),
    )


def of_trajectory(trajectory: Trajectory, method: str, seed: int) -> Answer:
    """The answer of an episode of ours: its tree's where it has one, else its path by the same rules. Raises BadRecord.

    One that ended without Finish is what the source calls invalid.
    """
    if trajectory.tree is not None:
        return replace(of_tree(trajectory.tree, method, seed), query=trajectory.query)
    ends = trajectory.stop in ("finished", "gave_up")
    nodes: list[Node] = []
    for step in trajectory.steps:
        call, response = named_call_of(step), step.observation.text
        if call.thought and not ends:
            nodes.append(Node("assistant", call.thought))
        nodes.append(_call(call.action, call.action_input, "" if ends and call.action == finish.NAME else response))
    last = trajectory.steps[-1].action if ends and trajectory.steps else None
    answer = last.arguments if last and last.name == finish.NAME else ""
    tools = split_system_prompt(trajectory.opening[0].content)[1] if trajectory.opening else []
    return Answer(trajectory.query, tools, method, answer, tuple(nodes))


def _call(name: str, arguments: str, response: str) -> Node:
    return Node("tool", {"name": name, "arguments": arguments, "response": response})


def _of_messages(generated: Record) -> Iterator[Node]:
    paths = items(generated, "train_messages", "answer_generation")
    if not paths or not isinstance(paths[-1][1], list):
        raise BadRecord("no_target", "the field 'answer_generation.train_messages' has no path, though it is valid")
    place, messages = paths[-1]
    roles = [take(message, "role", str, f"{place}[{index}]") for index, message in enumerate(messages)]
    for index, (role, message) in enumerate(zip(roles, messages, strict=True)):
        if role == "assistant":
            calls = calls_of(message, f"{place}[{index}]")
            if not calls:
                yield Node("assistant", str(message.get("content") or ""))
            for call, response in _answered(calls, messages[index + 1 :]):
                yield _call(call.name, call.arguments, response)


def _answered(calls: Sequence[Call], following: Sequence[Message]) -> Iterator[tuple[Call, str]]:
    """The calls of a message, up to Finish, each with its response: by its id, else the first of those `following`."""
    behind = list(takewhile(lambda each: each["role"] in ("function", "tool"), following))
    for call in calls:
        answers = [each for each in behind if call.id is None or each.get("tool_call_id") == call.id]
        if call.name == finish.NAME:
            yield call, ""
            return
        yield call, str(answers[0].get("content") or "") if answers else ""


def _drawn(tree: Record, draw: Random) -> list[Any]:
    """Nodes of a try, or of a walk from the root's children down to a leaf."""
    if "trys" in tree:
        tries = take(tree, "trys", list)
        return take(draw.choice(tries), "chain", list, "trys") if tries else []
    nodes, node = [], take(take(tree, "tree", dict), "tree", dict, "tree")
    while children := take(node, "children", list, "tree"):
        node = draw.choice(children)
        nodes.append(node)
    return nodes


def _of_tree_nodes(nodes: list[Any]) -> Iterator[Node]:
    rest = iter(nodes)
    for node in rest:
        kind, said = take(node, "node_type", str, "node"), take(node, "description", str, "node")
        if kind == "Thought":
            yield Node("assistant", said)
            continue
        given = next(rest, None)
        if kind != "Action" or given is None or take(given, "node_type", str, "node") != "Action Input":
            raise BadRecord("torn_step", f"a node of type {kind!r} stands alone, expected an Action before its input")
        yield _call(said, take(given, "description", str, "node"), str(given.get("observation") or ""))
