"""What a rollout came to: a line per group of tasks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean

from rich.table import Table

from common.agents.episodes import SetAside
from common.agents.types import Trajectory


@dataclass(frozen=True)
class GroupSummary:
    """Figures of one group. Those set aside count in none of the others."""

    group: str
    episodes: int
    solved: float | None
    """Share of the episodes that are known to be solved or not, as those are not that never finished; None where the
    environment can't tell."""
    stops: dict[str, int]
    """Episodes by why they ended."""
    steps: float
    """Mean per episode, as the three below."""
    queries: float
    written_tokens: float
    seconds: float
    price: float
    """Of all its episodes."""


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, trajectory: Trajectory) -> float:
        """What an episode cost."""
        tokens = self.prompt * trajectory.prompt_tokens + self.completion * trajectory.completion_tokens
        return tokens / 1e6


def summarize(trajectories: Iterable[Trajectory], prices: Prices) -> list[GroupSummary]:
    """One summary per group, by their names."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group, []).append(trajectory)
    return [_summarize(group, episodes, prices) for group, episodes in sorted(groups.items())]


def _summarize(group: str, episodes: Sequence[Trajectory], prices: Prices) -> GroupSummary:
    judged = [episode.solved for episode in episodes if episode.solved is not None or episode.stop != "finished"]
    known = len(judged) == len(episodes) or any(episode.solved is not None for episode in episodes)
    return GroupSummary(
        group=group,
        episodes=len(episodes),
        solved=mean(bool(solved) for solved in judged) if known else None,
        stops=dict(Counter(episode.stop for episode in episodes)),
        steps=mean(len(episode.steps) for episode in episodes),
        queries=mean(episode.queries for episode in episodes),
        written_tokens=mean(episode.completion_tokens for episode in episodes),
        seconds=mean(episode.seconds for episode in episodes),
        price=sum(map(prices.of, episodes)),
    )


def table(summaries: Sequence[GroupSummary], set_aside: Sequence[SetAside]) -> Table:
    """The summaries, and below them how many episodes infrastructure broke."""
    caption = (
        f"{len(set_aside)} episodes set aside: see set_aside.jsonl; start again to run them" if set_aside else None
    )
    view = Table(title="Rollout", caption=caption)
    for heading in (
        "group",
        "episodes",
        "solved",
        "finished",
        "gave up",
        "cut off",
        "steps",
        "queries",
        "tokens",
        "s",
        "price",
    ):
        view.add_column(heading, justify="left" if heading == "group" else "right")
    for each in summaries:
        ended = [each.stops.get(stop, 0) for stop in ("finished", "gave_up")]
        solved = "?" if each.solved is None else f"{each.solved:.0%}"
        counts = [each.episodes, solved, *ended, each.episodes - sum(ended)]
        means = [each.steps, each.queries, each.written_tokens, each.seconds]
        view.add_row(each.group, *map(str, counts), *(f"{value:.1f}" for value in means), _price(each.price))
    return view


def _price(price: float) -> str:
    return f"{price:.4f}" if price else "-"


def as_values(summaries: Sequence[GroupSummary], set_aside: Sequence[SetAside]) -> dict[str, object]:
    """The same as plain values, for JSON."""
    return {"groups": [asdict(each) for each in summaries], "set_aside": len(set_aside)}
