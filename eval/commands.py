"""The commands of evaluation: parse first, import heavy things after."""

from common.command_line import settings_of
from eval.settings import EvalSettings


def score(arguments: list[str]) -> int:
    """Judge served models through the HTTP API, and print one table."""
    about = "Loss, perplexity and form of what each served model writes, as one table."
    settings = settings_of(EvalSettings, "python -m eval score", about, arguments)

    from rich.console import Console

    from eval.judging.score import score, table

    Console(width=120).print(table(score(settings)))
    return 0
