"""Settings of a rollout: which policy acts, by which search, in which environment, and how much it may take."""

from typing import Literal

from pydantic import Field

from common.agents.bounds import BoundSettings
from common.agents.policy import Sampling
from common.settings import FolderOrName, Settings, UserPath


class ServedPolicySettings(Settings):
    """A model that this project serves, asked through its distillation API."""

    kind: Literal["served"] = "served"
    """What it is."""
    url: str | list[str]
    """Base address of its application, e.g. http://127.0.0.1:8000/student; or several of the same."""
    model: str
    """Name of the served model or adapter."""
    tokenizer: FolderOrName
    """Folder of the model's tokenizer."""
    template: Literal["toolbench", "chat"] = "toolbench"
    """How turns become text: in ToolBench's own layout, or by the tokenizer's chat template."""
    provenance: Literal["teacher", "student"] = "student"
    """Whose turns they are."""
    max_length: int = Field(default=8192, ge=16)
    """Most tokens of prompt and completion together; an episode that reaches it ends."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest wait for one answer."""
    patience_s: float = Field(default=60, ge=0, allow_inf_nan=False)
    """How long is waited while the service doesn't answer."""


class WorldEnvironmentSettings(Settings):
    """The generated tool world, which executes calls in this process."""

    kind: Literal["world"] = "world"
    """What it is."""
    folder: UserPath
    """Folder that `python -m common.world` wrote."""
    splits: list[str] = ["seen", "unseen_tool", "unseen_category"]
    """Whose tasks are asked."""


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
    max_depth: int = Field(default=12, ge=1)
    """Nodes of a path, two or three per call."""
    max_queries: int = Field(default=200, ge=1)
    """Turns asked for in all."""
    answers: int = Field(default=1, ge=1)
    """Final answers with which the search ends."""
    ranked: bool = False
    """Ask the policy itself, in pairs, which child is visited first."""


class SamplingSettings(Settings):
    """How turns are drawn."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other turns."""
    temperature: float = Field(default=0.5, ge=0, le=2)
    """ToolBench's own inference uses 0.5."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus of the sampling."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest turn, in tokens."""

    @property
    def sampling(self) -> Sampling:
        """The same as searches take it."""
        return Sampling(self.seed, 1, self.temperature, self.top_p, self.max_tokens)


class RolloutSettings(Settings):
    """A rollout: every task is run, and its trajectory written."""

    policy: ServedPolicySettings
    """What writes the agent's turns."""
    environment: WorldEnvironmentSettings
    """What answers its actions."""
    search: ChainSettings | DfsdtSettings = Field(default=ChainSettings(), discriminator="kind")
    """How turns are spent on a task."""
    sampling: SamplingSettings = SamplingSettings()
    """How turns are drawn."""
    bounds: BoundSettings = BoundSettings()
    """How much one episode may take."""
    output: UserPath
    """Folder of the trajectories; a rollout that was cut off goes on there."""
    tasks: int = Field(default=100, ge=1)
    """Most tasks of each split, from its start."""
    samples: int = Field(default=1, ge=1)
    """Episodes of each task."""
    in_flight: int = Field(default=32, ge=1)
    """Episodes at a time."""
