"""Candidates of a tree search ranked by a model that compares them in pairs, each pair both ways round.

The words and the order are OpenBMB/ToolBench's (Apache-2.0, `toolbench/inference/Prompts/rank_prompts.py` and
`LLM_rank/rank_candidate.py`): by verdicts in a candidate's favour, of all that compare it with another.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from common.agents.policy import Policy, Sampling
from common.agents.search.steps import child_seed
from common.agents.search.tree import Node, Tree
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import split_system_prompt

TASK_LABEL = "Task description: "
OBSERVATION_LIMIT = 1024
"""Characters of an observation that are shown."""
SYSTEM_PROMPT = """
You are value-GPT, which is an expert of defining which trail is better, which trail is more close to solving the task. 
All candidate tries to solve this task with some funciton calls:
*******************************
{{TASK_DESCRIPTION}}
{task_description}
{{END_TASK_DESCRIPTION}}
*******************************
First, all candidate do the following things:
{intersect_trice}
After that, there are two candidates A and B, they do different things:
*******************************
{{CANDIDATE_A_START}}
{candidate_A}
{{CANDIDATE_A_END}}
*******************************
{{CANDIDATE_B_START}}
{candidate_B}
{{CANDIDATE_B_END}}
Which try do you think is more helpful to solving the task?
"""
USER_PROMPT = """
Tell me which candidate is better in ONE Word: "A" or "B":"""


async def best_first(
    ranker: Policy, opening: Sequence[Turn], candidates: Sequence[Node], sampling: Sampling, tree: Tree
) -> list[Node]:
    """`candidates`, calls tried at one place of `tree`, by verdicts in their favour; equal ones keep their order.

    What the ranker reads and writes counts as the tree's.
    """
    task = split_system_prompt(opening[0].content)[0].partition(TASK_LABEL)[2]
    verdicts = dict.fromkeys(candidates, 0)
    for number, (one, other) in enumerate(combinations(candidates, 2)):
        for turn, (first, second) in enumerate(((one, other), (other, one))):
            seeded = replace(sampling, n=1, seed=child_seed(sampling.seed, number, turn))
            [verdict] = await ranker.write(_question(task, first, second), seeded)
            tree.count(verdict)
            verdicts[first if verdict.text.strip().lower().endswith("a") else second] += 1
    return sorted(candidates, key=lambda candidate: -verdicts[candidate])


def _question(task: str, first: Node, second: Node) -> tuple[Turn, Turn]:
    common = len(_common_path(first, second))
    filled = SYSTEM_PROMPT.replace("{task_description}", task)
    filled = filled.replace("{intersect_trice}", _trace(first.path[:common]))
    filled = filled.replace("{candidate_A}", _trace(first.path[common:]))
    filled = filled.replace("{candidate_B}", _trace(second.path[common:]))
    return Turn("system", filled), Turn("user", USER_PROMPT)


def _common_path(first: Node, second: Node) -> list[Node]:
    return [one for one, other in zip(first.path, second.path, strict=False) if one is other]


def _trace(path: Sequence[Node]) -> str:
    """A part of a path in words, a numbered line per node and per observation."""
    said: list[str] = []
    for node in path:
        said.append(f"{node.kind}: {node.description}\n")
        if node.observation:
            said.append(f"Observation: {_cut(node.observation)}\n")
    return "".join(f"step_{number}: {words}\n" for number, words in enumerate(said, start=1)) or "None"


def _cut(observation: str) -> str:
    if len(observation) <= OBSERVATION_LIMIT:
        return observation
    return observation[:OBSERVATION_LIMIT] + f"...(len={len(observation)})"
