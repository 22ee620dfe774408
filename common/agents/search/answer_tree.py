"""ToolBench's record of a tree search, the answer tree that `toolbench.readers.trees` reads.

Its fields and their quirks are the source's (OpenBMB/ToolBench, Apache-2.0, `toolbench/inference/Tree/Tree.py` and
`Algorithms/DFS.py`): `is_terminal` is always false, `Elo` always 1000, `io_state` and `chain` always empty. Of the
diversity prompts on a path the training messages keep the last one, and keep it behind its own step too, although the
policy saw it in that step alone.
"""

from collections.abc import Sequence
from typing import Any

from common.agents.search.steps import question
from common.agents.search.tree import Node, Tree, named_call_of
from common.agents.types import Step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import split_system_prompt

Record = dict[str, Any]


def answer_tree(tree: Tree, conclusion: Node, opening: Sequence[Turn], arguments: Record) -> Record:
    """The whole record; `arguments` are the search's settings in ToolBench's words."""
    nodes = list(tree.root.subtree())
    size = {"size": len(nodes), "max_length": 1 + max(node.depth for node in nodes)}
    return {
        "win": bool(tree.answers),
        "tree": size | {"tree": _with_children(tree.root)},
        "forward_args": arguments,
        "compare_candidates": [[_record(node) for node in answer.path] for answer in tree.answers],
        "answer_generation": _answer_generation(tree, conclusion, opening),
    }


def _answer_generation(tree: Tree, conclusion: Node, opening: Sequence[Turn]) -> Record:
    ends = bool(tree.answers or tree.given_up)
    messages = {"train_messages": _train_messages(opening, conclusion.steps)} if ends else {}
    return {
        "valid_data": ends,
        "query_count": tree.queries,
        "total_tokens": tree.tokens,
        "final_answer": conclusion.description if ends else "",
        "finish_type": "give_up" if ends and not tree.answers else "give_answer",
        "function": split_system_prompt(opening[0].content)[1],
        "chain": [],
        **messages,
        "query": question(opening),
    }


def _train_messages(opening: Sequence[Turn], steps: Sequence[Step]) -> list[list[Record]]:
    """For each of `steps` the messages up to its own, the list of functions left out of the system's."""
    begin = [{"role": turn.role, "content": _plain(turn)} for turn in opening]
    return [begin + _messages(steps[:number]) for number in range(1, len(steps) + 1)]


def _plain(turn: Turn) -> str:
    return split_system_prompt(turn.content)[0] if turn.role == "system" else turn.content


def _messages(steps: Sequence[Step]) -> list[Record]:
    """The messages of `steps` without the last observation."""
    last_told = max((number for number, step in enumerate(steps) if step.said_before), default=None)
    messages: list[Record] = []
    for number, step in enumerate(steps):
        if number == last_told:
            messages += [{"role": turn.role, "content": turn.content, "valid": False} for turn in step.said_before]
        call = named_call_of(step)
        function = {"name": call.action, "arguments": call.action_input}
        messages.append({"role": "assistant", "content": call.thought or None, "function_call": function})
        messages.append({"role": "function", "name": call.action, "content": step.observation.text})
    return messages[:-1]


def _with_children(node: Node) -> Record:
    return _record(node) | {"children": [_with_children(child) for child in node.children]}


def _record(node: Node) -> Record:
    record: Record = {
        "is_terminal": False,
        "pruned": node.pruned,
        "finished": node.finished,
        "depth": node.depth,
        "node_type": node.kind,
        "description": node.description,
        "Elo": 1000.0,
    }
    if node.observation:
        record["observation"] = node.observation
    if node.step:
        record["observation_code"] = int(node.step.observation.status)
    record |= {"child_count": len(node.children), "expand_num": node.expand_num}
    return record | ({"io_state": {}} if node.kind == "Action Input" else {})
