"""Task success per split: bars with intervals, and what a solved task takes."""

from collections.abc import Sequence
from statistics import mean

from eval.compare import figures
from eval.compare.document import Block, Paragraph, Section, Table, TableCell, count_of, number, plain
from eval.compare.episodes import Episode
from eval.compare.inputs import Experiment
from eval.compare.outcomes import estimate
from eval.metrics.bootstrap import Interval

COLUMNS = (
    "model", "seeds", "tasks", "solved", "95 % interval", "steps", "tokens per solved task", "seconds per solved task",
    "price per solved task", "not judged",
)  # fmt: skip


def section(experiment: Experiment) -> Section:
    """Bars of all splits, and a table each."""
    splits = list(dict.fromkeys(episode.split for result in experiment.results for episode in result.episodes))
    if not splits:
        return Section("Task success", [Paragraph("No cell has episodes.", "note")])
    estimates = {
        split: {title: estimate(experiment, title, split) for title in experiment.titles()} for split in splits
    }
    blocks: list[Block] = [figures.bars("success", "Tasks solved, with 95 % intervals", estimates)]
    blocks += [_table(experiment, split, estimates[split]) for split in splits]
    aside = sum(rollout.set_aside for result in experiment.results for rollout in result.rollouts.values())
    if aside:
        blocks.append(Paragraph(f"{aside} episodes that infrastructure broke count nowhere.", "note"))
    return Section("Task success", blocks)


def _table(experiment: Experiment, split: str, estimates: dict[str, Interval | None]) -> Table:
    rows = [_row(experiment, title, split, found) for title, found in estimates.items()]
    return Table(COLUMNS, rows, f"Split {split or 'without a name'}")


def _row(experiment: Experiment, title: str, split: str, found: Interval | None) -> list[TableCell]:
    results = experiment.of(title)
    per_seed = [[each for each in result.episodes if each.split == split] for result in results]
    episodes = [each for each in per_seed if each]
    seeds = count_of(len(episodes), len(results))
    if found is None:
        return [*plain(title), seeds, *[TableCell("not measured", "note", number=True)] * (len(COLUMNS) - 2)]
    ends = "–" if found.low is None else f"[{found.low:.0%}, {found.high:.0%}]"
    price = sum(rollout.prices.get(split, 0.0) for result in results for rollout in result.rollouts.values())
    figures = [number(found.tasks, "{:d}"), number(found.estimate, "{:.1%}"), TableCell(ends, number=True)]
    return [*plain(title), seeds, *figures, *_cost([each for seed in episodes for each in seed], price)]


def _cost(episodes: Sequence[Episode], price: float) -> list[TableCell]:
    solved = sum(bool(each.solved) for each in episodes)
    return [
        number(mean(each.steps for each in episodes), "{:.1f}"),
        number(sum(each.tokens for each in episodes) / solved if solved else None, "{:.0f}"),
        number(sum(each.seconds for each in episodes) / solved if solved else None, "{:.1f}"),
        number(price / solved if solved and price else None, "{:.4f}"),
        number(sum(each.solved is None for each in episodes), "{:d}"),
    ]
