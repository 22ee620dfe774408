"""The commands of evaluation: parse first, import heavy things after."""

import argparse
import json
from pathlib import Path

from common.command_line import settings_of
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


def compare(arguments: list[str]) -> int:
    """Write a report of an experiment, or of runs, rollouts and scores, from their folders alone."""
    about = "A report, as HTML that loads nothing, Markdown and PNGs, of what folders hold; nothing is asked or run."
    parser = argparse.ArgumentParser(prog="python -m eval compare", description=about)
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="FOLDER",
        help="the folder of an experiment; or run folders, folders of rollouts, and files of scores",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the report (default: the first FOLDER)")
    options = parser.parse_args(arguments)

    from eval.compare.report import compare

    first: Path = options.paths[0]
    print(compare(options.paths, options.output or (first.parent if first.is_file() else first)))
    return 0


def check_data(arguments: list[str]) -> int:
    """Say what is wrong with data, record by record; 1 where anything is."""
    about = (
        "What is wrong with data to train or evaluate on, record by record, and how to mend it: any source that "
        "`python -m common.toolbench convert` reads, or the Parquet rows that it writes."
    )
    parser = argparse.ArgumentParser(prog="python -m eval check-data", description=about)
    parser.add_argument("path", metavar="PATH", help="a file, a folder, or hf:NAME[:SPLIT]")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="most examples of each kind (default: 3)")
    options = parser.parse_args(arguments)

    from eval.check_data.check import check
    from eval.check_data.report import lines

    findings = check(options.path, max(options.examples, 0))
    print("\n".join(lines(findings)))
    return 1 if findings.wrong else 0
