"""Summaries of rollouts as tables."""

from collections.abc import Sequence

from rich.table import Table

from eval.results import Figure
from eval.rollouts.summary import GroupSummary, Summaries

MISSING = "–"
LEFT = ("group", "model")
NEEDED, STOPS = "steps needed", "finished, gave up, cut off"
HEADINGS = (
    *LEFT, NEEDED, "tasks", "solved [95 %]", "steps well", STOPS, "steps", "tokens /solved",
    "s /solved", "price /solved",
)  # fmt: skip


def tables(summaries: Summaries) -> list[Table]:
    """All groups, models side by side; and, where it is known, by the number of steps that tasks need."""
    broken = summaries.set_aside
    caption = f"{broken} episodes set aside: see set_aside.jsonl; start again to run them" if broken else None
    shown = [_table("Rollout", summaries.groups, caption)]
    return [*shown, _table("By steps needed", summaries.by_steps, None)] if summaries.by_steps else shown


def _table(title: str, summaries: Sequence[GroupSummary], caption: str | None) -> Table:
    hidden = STOPS if any(each.steps_needed is not None for each in summaries) else NEEDED
    view = Table(title=title, caption=caption)
    shown = [heading for heading in HEADINGS if heading != hidden]
    for heading in shown:
        view.add_column(heading, justify="left" if heading in LEFT else "right", no_wrap="[" in heading)
    for group in dict.fromkeys(each.group for each in summaries):
        for each in (each for each in summaries if each.group == group):
            cells = dict(zip(HEADINGS, _cells(each), strict=True))
            view.add_row(*(cells[heading] for heading in shown))
        view.add_section()
    return view


def _cells(each: GroupSummary) -> list[str]:
    ended = [each.stops.get("finished", 0), each.stops.get("gave_up", 0)]
    return [
        each.group,
        each.model,
        str(each.steps_needed),
        str(each.tasks),
        _share(each.solved),
        MISSING if each.steps_well is None else f"{each.steps_well:.0%}",
        ", ".join(map(str, (*ended, each.episodes - sum(ended)))),
        f"{each.steps:.1f}",
        _number(each.tokens_per_solved, 0),
        _number(each.seconds_per_solved, 1),
        _number(each.price_per_solved, 4),
    ]


def _share(figure: Figure) -> str:
    if figure.value is None:
        return "?"
    ends = "" if figure.low is None or figure.high is None else f" [{figure.low:.0%}, {figure.high:.0%}]"
    return f"{figure.value:.0%}{ends}"


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"
