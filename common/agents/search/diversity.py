"""The turn that asks a policy to differ from what was tried at the same place before.

Its words are OpenBMB/ToolBench's (Apache-2.0, `toolbench/inference/Prompts/Tree_search_prompts.py` and
`Algorithms/DFS.py`), misspellings included: models were trained on them.
"""

from json import dumps

from common.agents.search.tree import Node
from common.toolbench.rows import Turn

DIVERSITY_PROMPT = """This is not the first time you try this task, all previous trails failed.
Before you generate my thought for this state, I will first show you your previous actions for this state, \
and then you must generate actions that is different from all of them. Here are some previous actions candidates:
{previous_candidate}
Remember you are now in the intermediate state of a trail, you will first analyze the now state and \
previous action candidates, then make actions that is different from all the previous."""


def diversity_turns(node: Node) -> tuple[Turn, ...]:
    """What is said before another call is asked for below `node`; nothing before its first."""
    if not node.children:
        return ()
    candidates = f"{dumps([_candidate(call) for call in node.calls()], indent=2)}\n"
    if node.observation:
        candidates += f"again, your former observation: {node.observation}\n"
    return (Turn("user", DIVERSITY_PROMPT.replace("{previous_candidate}", candidates)),)


def _candidate(call: Node) -> dict[str, str | float]:
    *_, action, arguments = call.path
    return {
        "name": action.description,
        "arguments": arguments.description,
        "function_output": arguments.observation,
        "mento-carlo-action-value": 0.0,
    }
