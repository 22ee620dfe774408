"""What agents do and see, as data.

An episode is one run of an agent on a task. Each of its steps is one turn that the policy wrote, the action in it, and
what the environment answered. A trajectory is an episode's record.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from common.sequences import FinishReason, Provenance
from common.toolbench.rows import Turn
from common.toolbench.status import Status as Status

StopReason = Literal[
    "finished", "gave_up", "max_steps", "max_tokens", "max_queries", "max_length", "timeout", "unrenderable", "exit"
]
"""Why an episode ended: by Finish; by a bound on its steps, written tokens, queries of the policy, length of a prompt,
or seconds; by a turn that the policy's chat template can't show in later prompts; or by a decision to exit early."""


@dataclass(frozen=True)
class Task:
    """What an agent is asked for. `data` is what the task's environment needs to know; no policy sees it."""

    id: str
    query: str
    group: str = ""
    """A free label, such as the split."""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """A function called with arguments: JSON text, as written."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Observation:
    """What an environment answers. Text is untrusted: it never opens a turn and holds no special tokens.

    `solved` says on an episode's last observation whether its task is, where the environment can tell.
    """

    text: str
    status: Status
    solved: bool | None = None


@dataclass(frozen=True)
class WrittenTurn:
    """One turn as a policy wrote it."""

    text: str
    """In ToolBench's ReAct form where it is a call: see `common.toolbench.react`; without its terminator."""
    finish_reason: FinishReason
    revision: str
    """Which weights wrote it."""
    token_ids: tuple[int, ...] = ()
    """The sampled ids, terminator included, which are never rendered again; empty where the policy doesn't tell."""
    reasoning: str = ""
    """What the model thought aloud between `<think>` and `</think>` before it: never part of later prompts."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Step:
    """One turn of an agent and what came of it. `action` is None where the turn isn't a call."""

    written: WrittenTurn
    action: Action | None
    observation: Observation
    said_before: tuple[Turn, ...] = ()
    """Turns between the last observation and this turn, such as DFSDT's diversity prompt; later prompts lack them."""
    shown: str | None = None
    """The turn as later prompts show it, where that isn't its text: DFSDT hides names of functions that don't exist."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The step in later prompts: the agent's turn and the observation."""
        text = self.written.text if self.shown is None else self.shown
        return Turn("assistant", text), Turn("function", self.observation.text)


@dataclass(frozen=True)
class Outcome:
    """What a search found: the steps of the path that it answers with, and why it stopped.

    `tree` is a tree search's record in ToolBench's form of answer trees.
    """

    steps: tuple[Step, ...]
    stop: StopReason
    tree: dict[str, Any] | None = None


@dataclass(frozen=True)
class Trajectory:
    """An episode's record. Counts are of all that was written, abandoned branches included."""

    episode: str
    """Unique within a set of trajectories."""
    task: str
    query: str
    group: str
    opening: tuple[Turn, ...]
    """The turns that the environment began with, the system prompt first."""
    steps: tuple[Step, ...]
    stop: StopReason
    solved: bool | None
    """Whether the task is solved, where the environment can tell."""
    final_answer: str | None
    provenance: Provenance
    seconds: float
    queries: int
    """Turns that the policy was asked for."""
    prompt_tokens: int
    completion_tokens: int
    tree: dict[str, Any] | None = None
    """A tree search's record in ToolBench's form of answer trees."""
