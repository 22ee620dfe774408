"""The commands of evaluation: parse first, import heavy things after."""

import json

from common.command_line import settings_of
from eval.rollouts.settings import RolloutSettings
from eval.settings import EvalSettings
from eval.tooleval.settings import ToolEvalSettings


def score(arguments: list[str]) -> int:
    """Judge served models through the HTTP API, and print one table."""
    about = "Loss, perplexity and form of what each served model writes, as one table."
    settings = settings_of(EvalSettings, "python -m eval score", about, arguments)

    from rich.console import Console

    from eval.judging.score import score, table

    Console(width=120).print(table(score(settings)))
    return 0


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


def tooleval(arguments: list[str]) -> int:
    """Judge agents' answers as ToolEval does, write the report, and print one table; 1 where some were set aside."""
    about = "Pass rate, win rate, SoPR, SoWR and FAC of agents' answers, by a judge behind OpenAI's API."
    settings = settings_of(ToolEvalSettings, "python -m eval tooleval", about, arguments)

    from rich.console import Console

    from eval.tooleval.evaluation import evaluate

    report = evaluate(settings)
    Console(width=120).print(report.table())
    return 1 if report.set_aside else 0
