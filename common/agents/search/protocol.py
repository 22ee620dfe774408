"""What every search is."""

from collections.abc import Sequence
from typing import Protocol

from common.agents.environment import ForkableEnvironment
from common.agents.policy import Policy, Sampling
from common.agents.types import Outcome
from common.toolbench.rows import Turn


class Search(Protocol):
    """Spends turns of `policy` on one task.

    `environment` was reset to the task and opened with the turns `opening`; the search may move it on, and closes every
    fork that it makes of it, but leaves closing it to its caller. All that is drawn follows from `sampling.seed`.

    A bound that the policy or the environment reaches ends the search with what it has. Raises InfrastructureFailure,
    and UserError where the search can't be done at all, such as in an environment that can't be forked.
    """

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """The path that the search answers with, and why it stopped."""
