"""What the tests of tree searches have in common."""

from pathlib import Path
from typing import Any

from common.agents.search.dfsdt import Dfsdt
from common.agents.types import Outcome
from common.toolbench.readers.trees import read_tree
from common.toolbench.rows import PromptRow
from tests.unit.common.agents.search.scripted import OPENING, SAMPLING, ScriptedEnvironment, ScriptedPolicy, run
from tests.unit.common.toolbench.records import quarantine, source

Tree = dict[str, Any]

THERE = '{"return_type": "give_answer", "final_answer": "there"}'


def nodes(record: Tree) -> list[tuple[Any, ...]]:
    """Depth, kind, description, code, pruned, finished, number of the visit of each node, in pre-order."""
    keys = ("depth", "node_type", "description", "observation_code", "pruned", "finished", "expand_num")
    below = [node for child in record["children"] for node in nodes(child)]
    return [tuple(record.get(key) for key in keys), *below]


def search(policy: ScriptedPolicy, **settings: Any) -> tuple[Outcome, Tree]:
    """DFSDT of these settings; its forks are closed, and what they were made of is as it was."""
    environment = ScriptedEnvironment()
    outcome = run(Dfsdt(**settings)(policy, environment, OPENING, SAMPLING))
    assert (environment.state, environment.only_forks_are_closed) == ([], True)
    assert outcome.tree is not None
    return outcome, outcome.tree


def rows(folder: Path, tree: Tree) -> list[PromptRow]:
    """What our reader makes of a tree."""
    return list(read_tree(source(folder / "7_DFS_woFilter_w2.json", tree), quarantine(folder), keep_give_up=True))
