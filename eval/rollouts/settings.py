"""Settings of a rollout: which policy acts, by which search, in which environment, and how much it may take."""

from typing import Annotated, Literal

from pydantic import Field

from common.agents.bounds import BoundSettings
from common.agents.environments.settings import FunctionEnvironmentSettings, McpEnvironmentSettings
from common.agents.policy import Sampling
from common.settings import Settings, UserPath
from eval.rollouts.policy_settings import PolicySettings
from eval.rollouts.search_settings import ChainSettings, SearchSettings


class WorldEnvironmentSettings(Settings):
    """The generated tool world, which executes calls in this process."""

    kind: Literal["world"] = "world"
    """What it is."""
    folder: UserPath
    """Folder that `python -m common.world` wrote."""
    splits: list[str] = ["seen", "unseen_tool", "unseen_category"]
    """Whose tasks are asked."""
    shuffled_descriptions: bool = False
    """A control: descriptions are shuffled among the functions on offer that tell facts. Who reads them is lost."""


EnvironmentSettings = Annotated[
    WorldEnvironmentSettings | FunctionEnvironmentSettings | McpEnvironmentSettings, Field(discriminator="kind")
]


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

    policy: PolicySettings
    """What writes the agent's turns."""
    environment: EnvironmentSettings
    """What answers its actions."""
    search: SearchSettings = ChainSettings()
    """How turns are spent on a task."""
    first_thoughts: UserPath | None = None
    """File of first-thought prefixes, for teachers alone: the first turn begins as an answer without tools would."""
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
