"""`python -m eval score CONFIG.yaml [--dotted.override value]`: judge served models through the HTTP API."""

import argparse

from common.errors import run_command
from common.settings import load
from eval.settings import EvalSettings


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score", help="loss, perplexity and form of what each model writes, as one table")
    scoring.add_argument("config", help="YAML of eval.settings.EvalSettings")
    known, overrides = parser.parse_known_args(arguments)
    settings = load(EvalSettings, known.config, overrides)

    from rich.console import Console

    from eval.judging.score import score, table

    Console(width=120).print(table(score(settings)))
    return 0


if __name__ == "__main__":
    run_command(main)
