"""DFSDT: ToolBench's depth-first search-based decision tree, and its variant that ranks before it descends.

The algorithm is OpenBMB/ToolBench's (Apache-2.0, `toolbench/inference/Algorithms/DFS.py`), whose name for these
defaults is `DFS_woFilter_w2`:
- pre-order: a child is visited, with all below it, before its sibling is asked for;
- a later child is told its earlier siblings, in a turn that it alone sees, and must differ from them;
- behind an answer, or where the agent gives up, the search goes back two calls and asks for a sibling there;
- at the depth, counted in nodes, a path ends, and its last call gets a sibling;
- the query that uses up the budget is asked, and its turn not looked at.
A path also ends where its prompt is too long for the policy. A turn without a call is the Thought of a call of a
function that doesn't exist, as it is for ToolLLaMA.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from common.agents.acting import act
from common.agents.environment import ForkableEnvironment
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.search.answer_tree import Record, answer_tree
from common.agents.search.diversity import diversity_turns
from common.agents.search.ranking import best_first
from common.agents.search.steps import child_seed, ending, forked, prompt
from common.agents.search.tree import Node, Tree, as_shown
from common.agents.types import Outcome
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import split_system_prompt

Child = tuple[Node, ForkableEnvironment]  # a call, and the state behind it
BACK_OFF = 2
TO_THE_ROOT = 1_000_000


@dataclass(frozen=True)
class Dfsdt:
    """The search. Its outcome's tree is ToolBench's answer tree."""

    children: int = 2
    """Turns asked for at each place."""
    max_depth: int = 12
    """Nodes of a path, two or three per call, behind which it doesn't go on."""
    max_queries: int = 200
    answers: int = 1
    """Final answers with which the search ends."""
    ranked: bool = False
    """Ask for all children of a place first, and visit the best of them first."""
    ranker: Policy | None = None
    """Who says which is best; without one, the policy itself."""

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`. Raises BadRecord where the opening has no system prompt of ToolBench's."""
        split_system_prompt(opening[0].content)
        run, bound = _Run(self, policy, opening, sampling), None
        try:
            await run.visit(run.tree.root, environment)
        except BoundReached as reached:
            bound = reached.stop
        conclusion = run.tree.conclusion(child_seed(sampling.seed))
        tree = answer_tree(run.tree, conclusion, opening, self._arguments())
        return Outcome(conclusion.steps, run.tree.stop(bound), tree)

    def _arguments(self) -> Record:
        return {
            "single_chain_max_step": self.max_depth,
            "tree_beam_size": self.children,
            "max_query_count": self.max_queries,
            "answer": self.answers,
            "with_filter": self.ranked,
        }


@dataclass
class _Run:
    settings: Dfsdt
    policy: Policy
    opening: Sequence[Turn]
    sampling: Sampling
    tree: Tree = field(default_factory=Tree)

    async def visit(self, node: Node, environment: ForkableEnvironment) -> int:
        """Search below `node`, whose state `environment` holds; returns how many calls to go back."""
        node.expand_num = len(self.tree.visited)
        self.tree.visited.append(node)
        if node.terminal:
            self.tree.answers.append(node)
            return TO_THE_ROOT if len(self.tree.answers) >= self.settings.answers else BACK_OFF
        if node.pruned:
            self.tree.given_up.append(node)
            return BACK_OFF
        if node.depth >= self.settings.max_depth:
            node.pruned = True
            return 1
        try:
            return await (self._ranked if self.settings.ranked else self._in_order)(node, environment)
        except BoundReached as reached:
            if reached.stop != "max_length":
                raise
            self.tree.paths_end_by, node.pruned = reached.stop, not node.children
            return 1

    async def _in_order(self, node: Node, environment: ForkableEnvironment) -> int:
        for _ in range(self.settings.children):
            async with self._child(node, environment) as (child, fork):
                back = await self.visit(child, fork)
            if back > 1:
                return back - 1
        return 1

    async def _ranked(self, node: Node, environment: ForkableEnvironment) -> int:
        ranker = self.settings.ranker or self.policy
        async with AsyncExitStack() as forks:
            children = dict(await self._try_all(node, environment, forks))
            seeded = replace(self.sampling, seed=child_seed(self.sampling.seed, *node.place))
            for child in await best_first(ranker, self.opening, list(children), seeded, self.tree):
                back = await self.visit(child, children[child])
                if back == BACK_OFF:
                    node.finish(BACK_OFF)
                if back > 1:
                    return back - 1
        return 1

    async def _try_all(self, node: Node, environment: ForkableEnvironment, forks: AsyncExitStack) -> list[Child]:
        tried: list[Child] = []
        try:
            for _ in range(self.settings.children):
                tried.append(await forks.enter_async_context(self._child(node, environment)))
        except BoundReached as reached:
            if reached.stop != "max_length" or not tried:
                raise
        return tried

    @asynccontextmanager
    async def _child(self, node: Node, environment: ForkableEnvironment) -> AsyncIterator[Child]:
        """One more call below `node`."""
        told = diversity_turns(node)
        seeded = replace(self.sampling, n=1, seed=child_seed(self.sampling.seed, *node.place, len(node.children)))
        [written] = await self.policy.write(prompt(self.opening, node.steps, told), seeded)
        self.tree.count(written)
        if self.tree.queries >= self.settings.max_queries:
            raise BoundReached("max_queries")
        async with forked(environment) as fork:
            step, done = await act(fork, written, told)
            child, stop = node.add(as_shown(step)), ending(step, done)
            child.terminal, child.pruned = stop == "finished", stop == "gave_up"
            if child.terminal:
                child.finish(BACK_OFF)
            yield child, fork
