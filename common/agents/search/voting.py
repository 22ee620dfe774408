"""Voting: on whole answers (More Agents' sampling-and-voting), or on each action (Agent Distillation's SAG)."""

from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Literal

from common.agents.acting import act
from common.agents.environment import ForkableEnvironment
from common.agents.policy import Policy, Sampling
from common.agents.search.chain import run_fork
from common.agents.search.steps import SPENT, child_seed, final_answer, forked, prompt, run_steps
from common.agents.types import Outcome, Status, Step, WrittenTurn
from common.toolbench.rows import Turn

EXECUTED = (Status.OK, Status.FINISHED, Status.GAVE_UP)


@dataclass(frozen=True)
class SamplingAndVoting:
    """As many chains, and the outcome of one whose answer most of them agree on."""

    answers: int = 8
    max_steps: int = 12
    """Turns of each chain."""
    form: Literal["closed", "open"] = "closed"
    """Closed: the most frequent answer, but for capitals and blanks around it. Open: the answer that is most similar to
    all others together. Of equals, the first. Only chains that finished with an answer vote."""

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`; where no chain finishes, the outcome is the last one's."""
        votes: list[tuple[str, Outcome]] = []
        for number in range(self.answers):
            seeded = replace(sampling, seed=child_seed(sampling.seed, number))
            outcome = await run_fork(policy, environment, opening, seeded, self.max_steps)
            if outcome.stop == "finished" and (answer := final_answer(outcome.steps[-1])) is not None:
                votes.append((answer, outcome))
            if outcome.stop in SPENT:
                break
        if not votes:
            return outcome
        answers = [answer for answer, _ in votes]
        return votes[most_frequent(answers) if self.form == "closed" else most_similar(answers)][1]


def most_frequent(answers: Sequence[str]) -> int:
    """Which of `answers` is the first of those that occur most often, but for capitals and blanks around them."""
    return first_of_largest([answer.strip().casefold() for answer in answers])


def most_similar(answers: Sequence[str]) -> int:
    """Which of `answers` has the highest similarity to all of them, summed."""
    sums = [sum(similarity(answer, other) for other in answers) for answer in answers]
    return sums.index(max(sums))


def similarity(one: str, other: str) -> float:
    """The share of words that two texts have in common (F1, so that it is BLEU's unigrams made symmetric), 0 to 1."""
    words, others = Counter(one.casefold().split()), Counter(other.casefold().split())
    total = words.total() + others.total()
    return 2 * (words & others).total() / total if total else 1.0


def first_of_largest(keys: Sequence[Hashable]) -> int:
    """The place of the first member of the largest group of equal keys; of equally large ones, the first."""
    [(key, _)] = Counter(keys).most_common(1)
    return keys.index(key)


@dataclass(frozen=True)
class Sag:
    """Self-consistent action generation: at each step several turns are drawn, and the most agreed-on one is taken.

    Each candidate is executed once, in a fork of its own. Those that are no call, or whose call fails, are dropped. The
    others are grouped by what they observe and by the answer that they give; the first of the largest group is taken,
    and its fork goes on. Where none executes, the first is taken, so that its error is what the agent reads next.
    """

    candidates: int = 8
    temperature: float = 0.4
    top_p: float = 0.8
    max_steps: int = 5

    async def __call__(
        self, policy: Policy, environment: ForkableEnvironment, opening: Sequence[Turn], sampling: Sampling
    ) -> Outcome:
        """As `Search`. Temperature, top-p and number of turns in `sampling` give way to these settings."""
        nucleus = replace(sampling, n=self.candidates, temperature=self.temperature, top_p=self.top_p)
        async with AsyncExitStack() as forks:
            current = environment

            async def next_step(steps: Sequence[Step]) -> tuple[Step, bool]:
                nonlocal current
                seeded = replace(nucleus, seed=child_seed(sampling.seed, len(steps)))
                written = await policy.write(prompt(opening, steps), seeded)
                step, done, current = await _agreed_on(current, written, forks)
                return step, done

            return await run_steps(next_step, self.max_steps)


async def _agreed_on(
    environment: ForkableEnvironment, candidates: Sequence[WrittenTurn], forks: AsyncExitStack
) -> tuple[Step, bool, ForkableEnvironment]:
    """The step that wins, whether it ends the episode, and the state behind it; the losers' forks are closed."""
    tried = []
    for written in candidates:
        fork = await forks.enter_async_context(forked(environment))
        tried.append((*await act(fork, written), fork))
    winner = agreed_on([step for step, _, _ in tried])
    for _, _, fork in tried[:winner] + tried[winner + 1 :]:
        await fork.close()
    return tried[winner]


def agreed_on(steps: Sequence[Step]) -> int:
    """Which of several steps taken at one place wins."""
    executed = [number for number, step in enumerate(steps) if step.action and step.observation.status in EXECUTED]
    if not executed:
        return 0
    found = [(steps[number].observation.text, final_answer(steps[number])) for number in executed]
    return executed[first_of_largest(found)]
