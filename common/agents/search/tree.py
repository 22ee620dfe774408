"""The nodes of a tree search. A call is two or three, one below the other: its Thought where it has one, its Action,
and its Action Input, to which the observation belongs."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from common.agents.types import Status, Step, StopReason, WrittenTurn
from common.toolbench.react import ParseError, parse_step, render_step
from common.toolbench.react import Step as Call

HALLUCINATED = "invalid_hallucination_function_name"
"""What messages call a function that doesn't exist."""


@dataclass(eq=False)
class Node:
    """A node; the root has no parent and counts as an Action Input."""

    kind: Literal["Thought", "Action", "Action Input"] = "Action Input"
    description: str = ""
    parent: "Node | None" = None
    step: Step | None = None
    """The call that this Action Input ends."""
    terminal: bool = False
    """Whether it gives a final answer."""
    pruned: bool = False
    """Whether the search never goes on below it, though it gives no answer."""
    finished: bool = False
    """Whether it is on an answer's path, few calls above it."""
    expand_num: int = 0
    """When the search visited it; 0 where it never did."""
    children: "list[Node]" = field(default_factory=list)

    @property
    def path(self) -> "tuple[Node, ...]":
        """The nodes from below the root to this one."""
        return () if self.parent is None else (*self.parent.path, self)

    @property
    def place(self) -> tuple[int, ...]:
        """Where the path turns: which child of its parent each node on it is."""
        return tuple(node.parent.children.index(node) for node in self.path if node.parent)

    @property
    def depth(self) -> int:
        """Nodes above it."""
        return len(self.path)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calls on its path."""
        return tuple(node.step for node in self.path if node.step)

    @property
    def observation(self) -> str:
        """What the call brought; "" at nodes that end none."""
        return self.step.observation.text if self.step else ""

    def add(self, step: Step) -> "Node":
        """Put the nodes of one more call below this one; returns the last of them."""
        call, node = call_of(step), self
        if call.thought:
            node = node._child(Node("Thought", call.thought, node))
        node = node._child(Node("Action", call.action, node))
        return node._child(Node("Action Input", call.action_input, node, step))

    def finish(self, calls: int) -> None:
        """Mark this node and those above it as finished, through `calls` Action Inputs and up to the next one."""
        self.finished = True
        left = calls - (self.kind == "Action Input")
        if self.parent and left >= 0:
            self.parent.finish(left)

    def subtree(self) -> "Iterator[Node]":
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.subtree()

    def calls(self) -> "list[Node]":
        """The Action Inputs of the calls that were tried right below this node."""
        return [next(node for node in child.subtree() if node.step) for child in self.children]

    def _child(self, node: "Node") -> "Node":
        self.children.append(node)
        return node


@dataclass
class Tree:
    """A tree, and what a search has found in it so far."""

    root: Node = field(default_factory=Node)
    visited: list[Node] = field(default_factory=list)
    answers: list[Node] = field(default_factory=list)
    """Visited calls that give a final answer."""
    given_up: list[Node] = field(default_factory=list)
    """Visited calls that give up."""
    queries: int = 0
    tokens: int = 0
    """Read and written by all queries."""

    paths_end_by: StopReason = "max_steps"
    """What ended the paths that neither answer nor give up."""

    def stop(self, bound: StopReason | None) -> StopReason:
        """Why the search stopped; `bound` is what it reached before it was through."""
        if self.answers:
            return "finished"
        return bound or ("gave_up" if self.given_up else self.paths_end_by)

    def count(self, written: WrittenTurn) -> None:
        """Count one query."""
        self.queries += 1
        self.tokens += written.prompt_tokens + written.completion_tokens

    def conclusion(self, seed: int) -> Node:
        """The call on whose path the search ends: the first answer, else one that gives up, else the last visited."""
        if self.answers:
            return self.answers[0]
        return self.given_up[seed % len(self.given_up)] if self.given_up else self.visited[-1]


def call_of(step: Step) -> Call:
    """What `step` calls; a turn that isn't a call is the Thought of a call without a name."""
    try:
        call = parse_step(step.written.text)
    except ParseError:
        return Call(step.written.text, "", "")
    return Call(call.thought, call.action.strip(), call.action_input)


def named_call_of(step: Step) -> Call:
    """The call as messages show it: functions that don't exist have one name."""
    call = call_of(step)
    unknown = step.observation.status is Status.NO_SUCH_FUNCTION
    return Call(call.thought, HALLUCINATED, call.action_input) if unknown else call


def as_shown(step: Step) -> Step:
    """`step` as later prompts show it: as written, unless it calls a function that doesn't exist."""
    known = step.observation.status is not Status.NO_SUCH_FUNCTION
    return step if known else replace(step, shown=render_step(named_call_of(step)))
