"""The commands of evaluation: parse first, import heavy things after."""

import json

from common.command_line import settings_of
from eval.qualification.settings import QualifySettings
from eval.rollouts.settings import RolloutSettings
from eval.settings import EvalSettings


def score(arguments: list[str]) -> int:
    """Judge served models through the HTTP API, and print tables."""
    about = "Loss of recorded completions, and form and actions of written ones, of each served model, as tables."
    settings = settings_of(EvalSettings, "python -m eval score", about, arguments)

    from rich.console import Console

    from eval.judging.score import score
    from eval.judging.tables import tables

    Console(width=120).print(*tables(score(settings)))
    return 0


def qualify(arguments: list[str]) -> int:
    """Examine a teacher through the HTTP API, and print its figures beside their thresholds; 1 where one fails."""
    about = "Whether a served teacher may teach: what it writes and scores on held-out rows, and what it must reach."
    settings = settings_of(QualifySettings, "python -m eval qualify", about, arguments)

    from rich.console import Console

    from common.quality.qualification import is_qualified
    from eval.qualification.qualify import qualify, table

    figures = qualify(settings)
    Console(width=120).print(table(settings, figures))
    return 0 if is_qualified(figures, settings.thresholds) else 1


def rollout(arguments: list[str]) -> int:
    """Run an agent on tasks, write its trajectories, and print one table; 1 where episodes were set aside."""
    about = "Episodes of a policy in an environment: trajectories, and a table of what came of them."
    settings = settings_of(RolloutSettings, "python -m eval rollout", about, arguments)

    from rich.console import Console

    from common.files import write_atomically
    from eval.rollouts.rollout import roll_out
    from eval.rollouts.summary import Prices, as_values, summarize, table

    trajectories, set_aside = roll_out(settings)
    policy = settings.policy
    prices = Prices(policy.prompt_price, policy.completion_price) if policy.kind == "endpoint" else Prices()
    summaries = summarize(trajectories, prices)
    write_atomically(settings.output / "summary.json", json.dumps(as_values(summaries, set_aside), indent=1) + "\n")
    Console(width=120).print(table(summaries, set_aside))
    return 1 if set_aside else 0
