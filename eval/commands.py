"""The commands of evaluation: parse first, import heavy things after."""

from common.command_line import settings_of
from eval.rollouts.settings import RolloutSettings
from eval.settings import EvalSettings


def score(arguments: list[str]) -> int:
    """Judge served models through the HTTP API, and print one table."""
    about = "Loss, perplexity and form of what each served model writes, as one table."
    settings = settings_of(EvalSettings, "python -m eval score", about, arguments)

    from rich.console import Console

    from eval.judging.score import score, table

    Console(width=120).print(table(score(settings)))
    return 0


def rollout(arguments: list[str]) -> int:
    """Run an agent on tasks, write its trajectories, and print one table."""
    about = "Episodes of a policy in an environment: trajectories, and a table of what came of them."
    settings = settings_of(RolloutSettings, "python -m eval rollout", about, arguments)

    from rich.console import Console

    from eval.rollouts.rollout import roll_out
    from eval.rollouts.summary import summarize, table

    trajectories, set_aside = roll_out(settings)
    Console(width=120).print(table(summarize(trajectories), set_aside))
    return 0
