"""`python -m common.toolbench convert SOURCE OUT`: ToolBench's files, and chats with tools, into the Parquet rows that
training reads; `export-txagent ROWS OUT`: rows as TxAgent's samples."""

import argparse
import json
from pathlib import Path

from common.errors import run_command


def main(arguments: list[str]) -> int:
    """Parse and run; the last line on stdout is the summary as JSON."""
    options = _parser().parse_args(arguments)
    print(json.dumps(options.run(options)))
    return 0


def _convert(options: argparse.Namespace) -> dict[str, object]:
    from common.toolbench.augment import Augmentation, parse_changes
    from common.toolbench.convert import convert
    from common.toolbench.readers.columns import parse_columns
    from common.toolbench.readers.dataset_source import DatasetOptions

    given = options.subset or options.column
    dataset = DatasetOptions(options.subset, parse_columns(options.column)) if given else None
    augmentation = Augmentation(parse_changes(options.augment), options.seed) if options.augment else None
    summary = convert(
        options.source,
        options.out,
        skip_bad=options.skip_bad,
        split_name=options.split_name,
        give_up=options.give_up,
        episodes=options.episodes,
        dataset=dataset,
        augmentation=augmentation,
    )
    return summary.as_dict()


def _export(options: argparse.Namespace) -> dict[str, object]:
    from common.toolbench.txagent import export

    return export(options.rows, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m common.toolbench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_convert(commands.add_parser("convert", help="convert a source into Parquet rows, one per step of a trace"))
    command = commands.add_parser("export-txagent", help="write rows as TxAgent's samples, one per row")
    command.set_defaults(run=_export)
    command.add_argument("rows", type=Path, help="a folder of rows that convert wrote")
    command.add_argument("out", type=Path, help="the file of JSON Lines to write")
    return parser


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_convert)
    command.add_argument(
        "source",
        help="a toolllama_*.json file, JSON Lines of messages and tools, a query file, a folder of answer trees or of "
        "such files, the folder of a rollout, or hf:NAME[:SPLIT]: a data set on the hub or in a local folder",
    )
    command.add_argument("out", type=Path, help="the folder to write, new or empty")
    command.add_argument("--skip-bad", action="store_true", help="leave bad records out, into OUT/skipped.jsonl")
    command.add_argument(
        "--split-name", metavar="NAME", help="label of all rows, instead of the file's, folder's or split's name"
    )
    command.add_argument(
        "--give-up",
        choices=["leave-out", "keep"],
        default="leave-out",
        help="answer trees that give up in the end, on which ToolBench itself trains (default: leave-out, counted)",
    )
    command.add_argument(
        "--episodes",
        choices=["solved", "finished"],
        default="solved",
        help="of trajectories: those that are known to solve their task, or all that finished (default: solved); the "
        "first of each task, others are counted",
    )
    command.add_argument(
        "--augment",
        metavar="CHANGES",
        help="of rows to train on, never of ones to evaluate on: some of rename, distractors, shuffle, with commas: "
        "made-up names for functions and their arguments, functions of other conversations, another order",
    )
    command.add_argument("--seed", type=int, default=0, help="what --augment's changes follow from (default: 0)")
    command.add_argument("--subset", metavar="NAME", help="of hf: the subset of a data set that has several")
    command.add_argument(
        "--column",
        metavar="FIELD=COLUMN",
        action="append",
        default=[],
        help="of hf: a column that isn't named as its field (id, conversations, from, value, messages, tools, "
        "functions, query, query_id, api_list); may be given several times",
    )


if __name__ == "__main__":
    run_command(main)
