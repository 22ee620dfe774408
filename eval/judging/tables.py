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
        _table("Recorded completions: nats per token", evaluation, _LOSS),
        _table("Written completions: form", evaluation, _shares(FORM) | {"tokens": _length}),
        _table("Written completions: actions", evaluation, _shares(ACTIONS)),
    ]


def _table(title: str, evaluation: Evaluation, columns: dict[str, Shown]) -> Table:
    view = Table(title=title)
    for heading in ("group", "model", *columns):
        view.add_column(heading, justify="left" if heading in ("group", "model") else "right")
    for group in dict.fromkeys(judgement.group for judgement in evaluation.judgements):
        for found in (judgement for judgement in evaluation.judgements if judgement.group == group):
            view.add_row(group, found.model, *(show(found) for show in columns.values()))
        view.add_section()
    return view


def _shares(names: tuple[str, ...]) -> dict[str, Shown]:
    return {MEASURES[name].heading: _share(name) for name in names}


def _length(judgement: Judgement) -> str:
    return f"{judgement.written_tokens:.0f}"


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


def _interval(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return MISSING
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


_LOSS: dict[str, Shown] = {
    "rows": lambda found: str(found.rows),
    "loss [95 %]": lambda found: _interval(found.measures["loss"]),
    "perplexity": lambda found: f"{found.perplexity:.2f}",
    "Thought": _part("thought"),
    "Action": _part("action"),
    "Input": _part("action_input"),
    "above floor, nats/row": lambda found: _interval(found.measures.get(EXCESS)),
}
