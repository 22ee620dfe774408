"""Task success per split: bars with intervals, what a solved task takes, and success by how many steps tasks need."""

from eval.compare import figures
from eval.compare.document import Block, Paragraph, Section, Table, TableCell, count_of, number, plain
from eval.compare.inputs import Experiment
from eval.compare.outcomes import estimate
from eval.metrics.bootstrap import Interval
from eval.rollouts.summary import GroupSummary, Summaries, summarize

COLUMNS = (
    "model", "seeds", "episodes judged", "solved", "95 % interval", "steps well", "finished, gave up, cut off", "steps",
    "tokens per solved task", "seconds per solved task", "price per solved task",
)  # fmt: skip


def section(experiment: Experiment) -> Section:
    """Bars of all splits, a table each, and what tasks of each length came to."""
    summaries = summarize(rollout for result in experiment.results for rollout in result.rollouts)
    splits = list(dict.fromkeys(each.group for each in summaries.groups))
    if not splits:
        return Section("Task success", [Paragraph("No cell has episodes.", "note")])
    titles = experiment.titles()
    found = {split: {title: estimate(experiment, title, split) for title in titles} for split in splits}
    blocks: list[Block] = [figures.bars("success", "Tasks solved, with 95 % intervals", found)]
    blocks += [_table(experiment, split, found[split], summaries) for split in splits]
    if summaries.by_steps:
        blocks.append(_by_steps(summaries))
    if summaries.set_aside:
        blocks.append(Paragraph(f"{summaries.set_aside} episodes that infrastructure broke count nowhere.", "note"))
    return Section("Task success", blocks)


def _table(experiment: Experiment, split: str, found: dict[str, Interval | None], summaries: Summaries) -> Table:
    groups = {each.model: each for each in summaries.groups if each.group == split}
    rows = [_row(experiment, title, split, each, groups.get(title)) for title, each in found.items()]
    return Table(COLUMNS, rows, f"Split {split or 'without a name'}")


def _row(
    experiment: Experiment, title: str, split: str, found: Interval | None, summary: GroupSummary | None
) -> list[TableCell]:
    results = experiment.of(title)
    acted = sum(any(each.group == split for each in result.episodes) for result in results)
    cells = [*plain(title), count_of(acted, len(results))]
    if summary is None:
        return [*cells, *[TableCell("not measured", "note", number=True)] * (len(COLUMNS) - len(cells))]
    judged = count_of(summary.solved.rows, summary.episodes)
    return [*cells, judged, *_solved(found), *_means(summary)]


def _solved(found: Interval | None) -> list[TableCell]:
    if found is None:
        return [TableCell("not judged", "note", number=True)] * 2
    ends = "–" if found.low is None else f"[{found.low:.0%}, {found.high:.0%}]"
    return [number(found.estimate, "{:.1%}"), TableCell(ends, number=True)]


def _means(summary: GroupSummary) -> list[TableCell]:
    ended = [summary.stops.get("finished", 0), summary.stops.get("gave_up", 0)]
    return [
        number(summary.steps_well, "{:.0%}"),
        TableCell(", ".join(map(str, (*ended, summary.episodes - sum(ended)))), number=True),
        number(summary.steps, "{:.1f}"),
        number(summary.tokens_per_solved, "{:.0f}"),
        number(summary.seconds_per_solved, "{:.1f}"),
        number(summary.price_per_solved, "{:.4f}"),
    ]


def _by_steps(summaries: Summaries) -> Table:
    rows = [
        [
            *plain(each.group, each.model), number(each.steps_needed, "{:d}"), number(each.episodes, "{:d}"),
            number(each.solved.value, "{:.1%}"),
        ]
        for each in summaries.by_steps
    ]  # fmt: skip
    return Table(
        ("split", "model", "steps needed", "episodes", "solved"), rows, "By the number of steps that tasks need"
    )
