"""`python -m common.world OUT [--seed 0] [--train_tasks 1200] …`: write a world into the folder OUT."""

import argparse
import json
from pathlib import Path

from common.errors import run_command
from common.settings import parse_overrides, validate
from common.world.build import build_world
from common.world.settings import WorldSettings


def main(arguments: list[str]) -> int:
    sizes = "; ".join(f"--{name} {field.default}" for name, field in WorldSettings.model_fields.items())
    parser = argparse.ArgumentParser("python -m common.world", description=__doc__, epilog=f"settings: {sizes}")
    parser.add_argument("out", type=Path, help="folder to write into")
    known, overrides = parser.parse_known_args(arguments)
    settings = validate(WorldSettings, dict(parse_overrides(overrides)), "the command line")
    print(json.dumps(build_world(settings, known.out)))
    return 0


if __name__ == "__main__":
    run_command(main)
