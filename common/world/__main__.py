"""`python -m common.world OUT [--seed 0] [--train_tasks 1200] …`: write a world into the folder OUT."""

import argparse
import json
from pathlib import Path

from common.command_line import parse_known
from common.errors import run_command
from common.settings import load
from common.world.build import build_world
from common.world.settings import WorldSettings


def main(arguments: list[str]) -> int:
    usage = "%(prog)s OUT [--setting VALUE]..."
    parser = argparse.ArgumentParser("python -m common.world", usage, "Write a generated world into the folder OUT.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    known, overrides = parse_known(parser, WorldSettings, arguments)
    settings = load(WorldSettings, None, overrides)
    print(json.dumps(build_world(settings, known.out)))
    return 0


if __name__ == "__main__":
    run_command(main)
