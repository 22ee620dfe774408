"""The commands of evaluation: parse first, import heavy things after."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import settings_of
from common.errors import UserError
from eval.qualification.settings import QualifySettings
from eval.rollouts.settings import RolloutSettings
from eval.settings import EvalSettings
from eval.tooleval.settings import ToolEvalSettings

if TYPE_CHECKING:
    from eval.rollouts.results import RolloutResults


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

    from eval.rollouts.results import results_of
    from eval.rollouts.rollout import roll_out

    trajectories, set_aside = roll_out(settings)
    found = results_of(settings.policy.model, trajectories, set_aside, settings)
    _report(settings.output, [found])
    return 1 if set_aside else 0


def episodes(arguments: list[str]) -> int:
    """Print what rollouts came to, several models side by side."""
    parser = ArgumentParser("python -m eval episodes", allow_abbrev=False)
    parser.description = "What rollouts came to, several models side by side: their folders are all that is read."
    parser.add_argument("rollouts", nargs="+", metavar="[NAME=]FOLDER", help="folder of a rollout, and what to call it")
    parser.add_argument("--output", type=Path, help="folder for summary.json and results.jsonl, as a rollout's")
    options = parser.parse_args(arguments)

    from eval.rollouts.results import read_results

    named = [(name, folder) for name, _, folder in (each.rpartition("=") for each in options.rollouts)]
    folders = {name or Path(folder).resolve().name: Path(folder) for name, folder in named}
    if len(folders) < len(named):
        raise UserError("two rollouts have one name; write NAME=FOLDER for each of them")
    _report(options.output, [read_results(folder, name) for name, folder in folders.items()])
    return 0


def _report(output: Path | None, rollouts: "list[RolloutResults]") -> None:
    """Print the tables of rollouts, and write what they are made of into the folder `output`."""
    from rich.console import Console

    from common.files import write_atomically
    from eval.rollouts.results import RESULTS
    from eval.rollouts.summary import summarize
    from eval.rollouts.tables import tables

    summaries = summarize(rollouts)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        lines = [each.model_dump_json() + "\n" for rollout in rollouts for each in rollout.episodes]
        write_atomically(output / RESULTS, "".join(lines))
        write_atomically(output / "summary.json", summaries.model_dump_json(indent=1) + "\n")
    Console(width=120).print(*tables(summaries))


def compare(arguments: list[str]) -> int:
    """Write a report of an experiment, or of runs, rollouts and scores, from their folders alone."""
    about = "A report, as HTML that loads nothing, Markdown and PNGs, of what folders hold; nothing is asked or run."
    parser = ArgumentParser(prog="python -m eval compare", description=about)
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
    parser = ArgumentParser(prog="python -m eval check-data", description=about)
    parser.add_argument("path", metavar="PATH", help="a file, a folder, or hf:NAME[:SPLIT]")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="most examples of each kind (default: 3)")
    options = parser.parse_args(arguments)

    from eval.check_data.check import check
    from eval.check_data.report import lines

    findings = check(options.path, max(options.examples, 0))
    print("\n".join(lines(findings)))
    return 1 if findings.wrong else 0


def tooleval(arguments: list[str]) -> int:
    """Judge agents' answers as ToolEval does, write the report, and print one table; 1 where some were set aside."""
    about = "Pass rate, win rate, SoPR, SoWR and FAC of agents' answers, by a judge behind OpenAI's API."
    settings = settings_of(ToolEvalSettings, "python -m eval tooleval", about, arguments)

    from rich.console import Console

    from eval.tooleval.evaluation import evaluate

    report = evaluate(settings)
    Console(width=120).print(report.table())
    return 1 if report.set_aside else 0
