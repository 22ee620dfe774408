"""The figures of an evaluation side by side: a line per model and group."""

from collections.abc import Callable

from rich.table import Table

from eval.metrics.measures import EXCESS, MEASURES
from eval.results import Evaluation, Figure, Judgement

FORM = ("parses", "names_offered_api", "arguments_are_json", "required_present", "valid", "hallucinates", "is_raw_json")
ACTIONS = ("same_action", "arguments_exact", "arguments_equal", "calls", "abstains", "finishes_early", "gives_up")
MISSING = "–"
Shown = Callable[[Judgement], str]


def tables(evaluation: Evaluation) -> list[Table]:
    """Loss of the recorded completions, form of the written ones, and what they call."""
    return [
        _table("Recorded completions: nats per token, and above the floor per row", evaluation, _LOSS),
        _table("Written completions: form", evaluation, _shares(FORM) | _LENGTHS),
        _table("Written completions: actions", evaluation, _shares(ACTIONS)),
    ]


def _table(title: str, evaluation: Evaluation, columns: dict[str, Shown]) -> Table:
    view = Table(title=title)
    view.add_column("group", no_wrap=True)
    view.add_column("model")
    for heading in columns:
        view.add_column(heading, justify="right", no_wrap="[" in heading)
    for group in dict.fromkeys(judgement.group for judgement in evaluation.judgements):
        for found in (judgement for judgement in evaluation.judgements if judgement.group == group):
            view.add_row(group, found.model, *(show(found) for show in columns.values()))
        view.add_section()
    return view


def _shares(names: tuple[str, ...]) -> dict[str, Shown]:
    return {MEASURES[name].heading: _share(name) for name in names}


def _share(name: str) -> Shown:
    def shown(judgement: Judgement) -> str:
        value = judgement.measures[name].value
        return MISSING if value is None else f"{value:.0%}"

    return shown


def _part(name: str) -> Shown:
    def shown(judgement: Judgement) -> str:
        found = {str(part): loss for part, loss in judgement.parts.items()}.get(name)
        return f"{found.loss:.3f}" if found else MISSING

    return shown


def _interval(figure: Figure | None, digits: int) -> str:
    if figure is None or figure.value is None:
        return MISSING
    ends = "" if figure.low is None or figure.high is None else f" [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return f"{figure.value:.{digits}f}{ends}"


_LOSS: dict[str, Shown] = {
    "loss [95 %]": lambda found: _interval(found.measures["loss"], 3),
    "perplexity": lambda found: f"{found.perplexity:.2f}",
    "Thought": _part("thought"),
    "Action": _part("action"),
    "Input": _part("action_input"),
    "above floor [95 %]": lambda found: _interval(found.measures.get(EXCESS), 2),
}
_LENGTHS: dict[str, Shown] = {
    "tokens": lambda found: f"{found.written_tokens:.0f}",
    "rows": lambda found: str(found.rows),
}
