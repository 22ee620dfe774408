"""`python -m common.toolbench convert SOURCE OUT`: ToolBench's files into the Parquet rows that training reads."""

import argparse
import json
from pathlib import Path

from common.errors import run_command


def main(arguments: list[str]) -> int:
    """Parse and run; the last line on stdout is the summary as JSON."""
    parser = argparse.ArgumentParser(prog="python -m common.toolbench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("convert", help="convert a source into Parquet rows, one per step of a trace")
    command.add_argument(
        "source", type=Path, help="a toolllama_*.json file, a query file, or a folder of query files or answer trees"
    )
    command.add_argument("out", type=Path, help="the folder to write, new or empty")
    command.add_argument("--skip-bad", action="store_true", help="leave bad records out, into OUT/skipped.jsonl")
    command.add_argument(
        "--split-name", metavar="NAME", help="label of all rows, instead of the file's or folder's name"
    )
    options = parser.parse_args(arguments)

    from common.toolbench.convert import convert

    summary = convert(options.source, options.out, options.skip_bad, options.split_name)
    print(json.dumps(summary.as_dict()))
    return 0


if __name__ == "__main__":
    run_command(main)
