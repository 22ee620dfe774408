"""`python -m teacher_server COMMAND`: what can be done without a cluster."""

import argparse
import sys
from pathlib import Path

from common.errors import run_command
from teacher_server.check import check


def main(arguments: list[str]) -> int:
    """Parse and run the command."""
    parser = argparse.ArgumentParser(prog="python -m teacher_server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check a Serve config's settings before `serve deploy`")
    checking.add_argument("config", type=Path, help="the YAML file that `serve deploy` would get")
    options = parser.parse_args(arguments)
    print("\n".join(check(options.config)))
    return 0


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
