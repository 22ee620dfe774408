"""Early exit: an agent that makes no progress stops, and a stronger one may go on from where it stands.

After "Runaway is Ashamed, But Helpful" (AgentExit; the method, not its words): intrinsic, the agent is told that it may
exit; extrinsic, a verifier is asked every few steps whether to go on; both, the verifier's advice to stop is what makes
the agent be told. Its figures are redundant steps (RS: those behind the last progress), saved steps, and lost progress.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from common.agents.acting import act
from common.agents.environment import ForkableEnvironment
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.search.chain import run_chain
from common.agents.search.steps import child_seed, prompt, run_steps
from common.agents.types import Outcome, Status, Step, WrittenTurn
from common.toolbench.react import ParseError, parse_step
from common.toolbench.rows import Turn

EXIT = "Exit"
MAY_EXIT = Turn(
    "user",
    "If the task can't be brought any further from here, end this attempt: call the function "
    f'"{EXIT}" with {{}} instead of another one. Otherwise go on.',
)
GO_ON = Turn(
    "user",
    "Judge this attempt. Say STOP if its last steps repeat themselves, keep failing, or can no longer lead to an "
    "answer; say CONTINUE if another step may help. Begin with the one word, then give the reason in one sentence.",
)
VERDICT = re.compile(r"\b(stop|continue)\b", re.IGNORECASE)


@dataclass(frozen=True)
class EarlyExit:
    """One chain that may exit early. With neither way of exiting it is `Chain`."""

    max_steps: int = 12
    """Turns in all, the helper's among them."""
    intrinsic: bool = False
    """Whether the agent is told that it may exit: always, or, where there is a verifier, once that says to stop."""
    extrinsic: bool = False
    """Whether a verifier is asked every few steps."""
    every: int = 3
    """Steps between two questions to it."""
    verifier: Policy | None = None
    """Without one, the policy itself."""
    helper: Policy | None = None
    """Goes on behind an exit from the state that the agent left; without one, the episode ends there."""

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`; `environment` is moved on and never forked."""
        outcome = await self._attempt(policy, environment, opening, sampling)
        if outcome.stop != "exit" or self.helper is None:
            return outcome
        helped = replace(sampling, seed=child_seed(sampling.seed, len(outcome.steps)))
        return await run_chain(self.helper, environment, opening, helped, self.max_steps, outcome.steps)

    async def _attempt(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        told = [MAY_EXIT] if self.intrinsic and not self.extrinsic else []
        verifier = self.verifier or policy

        async def next_step(steps: Sequence[Step]) -> tuple[Step, bool]:
            seeded = replace(sampling, n=1, seed=child_seed(sampling.seed, len(steps)))
            asks = self.extrinsic and not told and steps and len(steps) % self.every == 0
            if asks and await _should_stop(verifier, prompt(opening, steps, [GO_ON]), seeded):
                if not self.intrinsic:
                    raise BoundReached("exit")
                told.append(MAY_EXIT)
            [written] = await policy.write(prompt(opening, steps, told), seeded)
            if told and _exits(written):
                raise BoundReached("exit")
            return await act(environment, written, told)

        return await run_steps(next_step, self.max_steps)


def _exits(written: WrittenTurn) -> bool:
    try:
        return parse_step(written.text).action.strip() == EXIT
    except ParseError:
        return False


async def _should_stop(verifier: Policy, turns: Sequence[Turn], sampling: Sampling) -> bool:
    """What is no verdict lets the agent go on."""
    [advice] = await verifier.write(turns, replace(sampling, temperature=0.0))
    verdict = VERDICT.search(advice.text)
    return verdict is not None and verdict[0].lower() == "stop"


@dataclass(frozen=True)
class ExitFigures:
    """Early exit against none, as means over tasks."""

    steps: float
    """Steps with early exit."""
    saved_steps: float
    """How many fewer these are than without."""
    redundant_steps: float
    """RS: steps behind the last progress, with early exit."""
    redundant_steps_without: float
    lost_progress: float
    """How much less progress there is with early exit."""


def exit_figures(tasks: Sequence[tuple[Sequence[float], Sequence[float]]]) -> ExitFigures:
    """The figures of at least one task, each given as the progress behind each step with early exit, and without."""
    return ExitFigures(
        steps=fmean(len(exited) for exited, _ in tasks),
        saved_steps=fmean(len(full) - len(exited) for exited, full in tasks),
        redundant_steps=fmean(redundant_steps(exited) for exited, _ in tasks),
        redundant_steps_without=fmean(redundant_steps(full) for _, full in tasks),
        lost_progress=fmean(max(full, default=0.0) - max(exited, default=0.0) for exited, full in tasks),
    )


def redundant_steps(progress: Sequence[float]) -> int:
    """How many steps stand behind the last one that brought `progress`, 0 at first, above all before."""
    best, last = 0.0, 0
    for number, reached in enumerate(progress, start=1):
        if reached > best:
            best, last = reached, number
    return len(progress) - last


def observed_progress(steps: Sequence[Step]) -> list[float]:
    """How many different answers of calls that worked were seen by each step: progress where no world measures it."""
    seen: set[str] = set()
    progress = []
    for step in steps:
        if step.observation.status in (Status.OK, Status.FINISHED):
            seen.add(step.observation.text)
        progress.append(float(len(seen)))
    return progress
