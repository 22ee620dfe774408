"""Settings of the searches that a rollout may use."""

from typing import Annotated, Literal

from pydantic import Field

from common.settings import Settings
from eval.rollouts.policy_settings import PolicySettings


class ChainSettings(Settings):
    """CoT@n: independent chains until one finishes with an answer. With one try it is ReAct."""

    kind: Literal["chain"] = "chain"
    """What it is."""
    tries: int = Field(default=1, ge=1)
    """Chains at most."""
    max_steps: int = Field(default=12, ge=1)
    """Turns of each chain."""


class DfsdtSettings(Settings):
    """ToolBench's depth-first search-based decision tree; it writes answer trees."""

    kind: Literal["dfsdt"]
    """What it is."""
    children: int = Field(default=2, ge=1)
    """Turns asked for at each place."""
    max_depth: int = Field(default=12, ge=1, le=64)
    """Nodes of a path, two or three per call; readers of JSON follow a tree no deeper than the most."""
    max_queries: int = Field(default=200, ge=1)
    """Turns asked for in all."""
    answers: int = Field(default=1, ge=1)
    """Final answers with which the search ends."""
    ranked: bool = False
    """Ask the policy itself, in pairs, which child is visited first."""


class VotingSettings(Settings):
    """Sampling and voting: several chains, and the answer that most of them agree on."""

    kind: Literal["voting"]
    """What it is."""
    answers: int = Field(default=8, ge=1)
    """Chains."""
    max_steps: int = Field(default=12, ge=1)
    """Turns of each chain."""
    form: Literal["closed", "open"] = "closed"
    """Closed: the most frequent answer wins. Open: the one that is most similar to all others."""


class SagSettings(Settings):
    """Self-consistent action generation: at each step the action that most candidates agree on once executed."""

    kind: Literal["sag"]
    """What it is."""
    candidates: int = Field(default=8, ge=1)
    """Turns drawn at each step; they count as so many queries."""
    temperature: float = Field(default=0.4, ge=0, le=2)
    """In place of the sampling's."""
    top_p: float = Field(default=0.8, gt=0, le=1)
    """In place of the sampling's."""
    max_steps: int = Field(default=5, ge=1)
    """Steps of an episode."""


class EarlyExitSettings(Settings):
    """One chain that ends early where it makes no progress, and may be handed to another policy."""

    kind: Literal["early_exit"]
    """What it is."""
    max_steps: int = Field(default=12, ge=1)
    """Turns in all, the helper's among them."""
    intrinsic: bool = True
    """The agent is told that it may exit."""
    extrinsic: bool = False
    """The policy is asked every few steps whether to go on; with `intrinsic` too, the agent is told only then."""
    every: int = Field(default=3, ge=1)
    """Steps between two such questions."""
    helper: PolicySettings | None = None
    """Who goes on behind an exit; without one, the episode ends there."""


SearchSettings = Annotated[
    ChainSettings | DfsdtSettings | VotingSettings | SagSettings | EarlyExitSettings, Field(discriminator="kind")
]
