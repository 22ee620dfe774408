"""What rollouts came to: a line per group of tasks and model, and one for each number of steps that tasks need."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import mean

from pydantic import BaseModel, ConfigDict

from common.agents.types import StopReason
from eval.metrics.bootstrap import SHARES, interval
from eval.results import Figure
from eval.rollouts.results import EpisodeResult, RolloutResults, sample


class GroupSummary(BaseModel):
    """Figures of one model on one group, or on its tasks that need so many steps. Nothing set aside counts in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    group: str
    steps_needed: int | None
    """None: all tasks of the group."""
    episodes: int
    tasks: int
    solved: Figure
    """Share of the episodes that are known to be solved or not, as those are not that never finished. Its value is None
    where the environment can't tell."""
    steps_well: float | None
    """Share of all steps that were calls answered without an error, or Finish with an answer."""
    stops: dict[StopReason, int]
    """Episodes by why they ended."""
    steps: float
    """Mean per episode, as the three below."""
    queries: float
    written_tokens: float
    seconds: float
    price: float
    """Of all its episodes."""
    steps_per_solved: float | None
    """What all its episodes took, failed ones included, for each that is solved; None where none is. So the next."""
    tokens_per_solved: float | None
    """Written ones."""
    seconds_per_solved: float | None
    price_per_solved: float | None
    """None also where tokens have no price."""


class Summaries(BaseModel):
    """What `python -m eval rollout` and `episodes` write as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    groups: list[GroupSummary]
    """Each model on each group, as a whole."""
    by_steps: list[GroupSummary] = []
    """The same by the number of steps that tasks need, where that is known."""
    set_aside: int = 0
    """Episodes that infrastructure broke, of all models."""


def summarize(rollouts: Iterable[RolloutResults]) -> Summaries:
    """Figures of all rollouts, models of a group side by side, groups by their names."""
    found = list(rollouts)
    episodes = [episode for rollout in found for episode in rollout.episodes]
    groups: dict[tuple[str, str], list[EpisodeResult]] = {}
    for episode in episodes:
        groups.setdefault((episode.group, episode.model), []).append(episode)
    in_order = sorted(groups.items(), key=lambda each: each[0][0])
    return Summaries(
        groups=[_summarize(own, None) for _, own in in_order],
        by_steps=[
            _summarize([each for each in own if each.steps_needed == needed], needed)
            for _, own in in_order
            for needed in sorted({each.steps_needed for each in own if each.steps_needed is not None})
        ],
        set_aside=sum(len(rollout.set_aside) for rollout in found),
    )


def _summarize(episodes: Sequence[EpisodeResult], needed: int | None) -> GroupSummary:
    steps, price = sum(each.steps for each in episodes), sum(each.price for each in episodes)
    solved = _solved(episodes)
    number = sum(bool(each.solved) for each in episodes) if solved.value is not None else 0

    def per_solved(total: float) -> float | None:
        return total / number if number else None

    return GroupSummary(
        model=episodes[0].model,
        group=episodes[0].group,
        steps_needed=needed,
        episodes=len(episodes),
        tasks=len({each.task for each in episodes}),
        solved=solved,
        steps_well=sum(each.steps_well for each in episodes) / steps if steps else None,
        stops=dict(Counter(each.stop for each in episodes)),
        steps=steps / len(episodes),
        queries=mean(each.queries for each in episodes),
        written_tokens=mean(each.completion_tokens for each in episodes),
        seconds=mean(each.seconds for each in episodes),
        price=price,
        steps_per_solved=per_solved(steps),
        tokens_per_solved=per_solved(sum(each.completion_tokens for each in episodes)),
        seconds_per_solved=per_solved(sum(each.seconds for each in episodes)),
        price_per_solved=per_solved(price) if price else None,
    )


def _solved(episodes: Sequence[EpisodeResult]) -> Figure:
    """Unknown where no finished episode was judged, though some finished: then only failures are known."""
    finished = [each for each in episodes if each.stop == "finished"]
    found = interval(sample(episodes), SHARES)
    if found is None or (finished and all(each.solved is None for each in finished)):
        return Figure(value=None)
    known = sum(each.solved is not None for each in episodes)
    return Figure(value=found.estimate, low=found.low, high=found.high, rows=known)
