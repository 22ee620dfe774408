"""CoT@n: independent chains, until one finishes with an answer. ReAct is CoT@1."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.agents.acting import act
from common.agents.environment import Environment, ForkableEnvironment
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.search.steps import SPENT, child_seed, forked, prompt, run_steps
from common.agents.types import Outcome, Step
from common.toolbench.rows import Turn


@dataclass(frozen=True)
class Chain:
    """CoT@n. One chain alone needs no environment that can be forked."""

    tries: int = 1
    """Chains at most; where none finishes, the outcome is the last one's."""
    max_steps: int = 12
    """Turns of each chain."""

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`."""
        if self.tries == 1:
            return await run_chain(policy, environment, opening, sampling, self.max_steps)
        for number in range(self.tries):
            seeded = replace(sampling, seed=child_seed(sampling.seed, number))
            outcome = await run_fork(policy, environment, opening, seeded, self.max_steps)
            if outcome.stop == "finished" or outcome.stop in SPENT:
                break
        return outcome


async def run_fork(
    policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling, max_steps: int
) -> Outcome:
    """One episode in a fork of `environment`; it ends before its first step where there is no time to fork."""
    try:
        async with forked(environment) as fork:
            return await run_chain(policy, fork, opening, sampling, max_steps)
    except BoundReached as reached:
        return Outcome((), reached.stop)


async def run_chain(
    policy: Policy,
    environment: Environment,
    opening: Sequence[Turn],
    sampling: Sampling,
    max_steps: int,
    begun: Sequence[Step] = (),
) -> Outcome:
    """One episode on from where `environment` stands, behind the steps `begun`; `max_steps` counts these too."""

    async def next_step(steps: Sequence[Step]) -> tuple[Step, bool]:
        seeded = replace(sampling, n=1, seed=child_seed(sampling.seed, len(steps)))
        [written] = await policy.write(prompt(opening, steps), seeded)
        return await act(environment, written)

    return await run_steps(next_step, max_steps, begun)
