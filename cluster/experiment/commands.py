"""`python -m cluster experiment`: parse first, import heavy things after."""

import argparse

from cluster.experiment.settings import ExperimentSettings
from common.command_line import parse_known
from common.settings import load


def experiment(arguments: list[str]) -> int:
    """Run an experiment, or go on with it; 1 where its gate or a cell failed."""
    about = "Expert, students of every arm and seed, judged on unseen tools; it goes on where it stopped."
    parser = argparse.ArgumentParser(
        "python -m cluster experiment", "%(prog)s [--dry-run] CONFIG.yaml [--dotted.setting VALUE]...", about,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "config", metavar="CONFIG.yaml", help="file of the settings below; see configs/experiment-*.yaml"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate everything, say what it takes, run nothing")
    options, rest = parse_known(parser, ExperimentSettings, arguments)
    settings = load(ExperimentSettings, options.config, rest)

    from cluster.experiment.run import dry_run, run_experiment

    return dry_run(settings) if options.dry_run else run_experiment(settings)
