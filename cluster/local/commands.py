"""`python -m cluster up | down | status`: a cluster that stays until it is ended."""

import argparse
import shlex
from pathlib import Path

import httpx

from cluster.local import local_cluster
from cluster.local.cluster_info import ClusterInfo, read_info
from cluster.local.settings import ClusterSettings
from common.command_line import parse_known
from common.settings import load

STATE = Path("runs/cluster.json")
"""Where the cluster that `up` started is written down."""
DEFAULT_CONFIG = "cluster/configs/local.yaml"


def up(arguments: list[str]) -> int:
    description = f"Start a cluster on this machine, as CONFIG says, by default {DEFAULT_CONFIG}."
    parser = _parser("up", description, usage="%(prog)s [--state STATE] [CONFIG] [--dotted.setting VALUE]...")
    options, rest = parse_known(parser, ClusterSettings, arguments)
    config = rest.pop(0) if rest and not rest[0].startswith("-") else DEFAULT_CONFIG
    info = local_cluster.up(load(ClusterSettings, config, rest), options.state)
    print(f"The cluster is up. Dashboard: {info.dashboard_url}. In the shell that talks to it:")
    _print_environment(info)
    return 0


def down(arguments: list[str]) -> int:
    options = _parser("down", "End the cluster that `up` started, and nothing else.").parse_args(arguments)
    local_cluster.down(options.state)
    print("The cluster is down; none of its processes is left.")
    return 0


def status(arguments: list[str]) -> int:
    """Print what runs; 1 when the cluster is gone."""
    options = _parser("status", "Say whether the cluster that `up` started runs.").parse_args(arguments)
    info = read_info(options.state)
    if not local_cluster.is_running(info):
        print(f"The cluster of {options.state} is gone; `python -m cluster down` forgets it.")
        return 1
    try:
        applications = info.get("/api/serve/applications/")["applications"]
    except httpx.HTTPError as error:
        print(f"The cluster runs, but its dashboard {info.dashboard_url} doesn't answer: {error}")
        return 1
    print(f"The cluster is up. Dashboard: {info.dashboard_url}. Served from {info.serve_url}:")
    print("\n".join(f"  {name}: {found['status']}" for name, found in applications.items()) or "  nothing")
    _print_environment(info)
    return 0


def _parser(command: str, description: str, usage: str | None = None) -> argparse.ArgumentParser:
    prog = f"python -m cluster {command}"
    parser = argparse.ArgumentParser(prog, usage, description, allow_abbrev=False)
    parser.add_argument("--state", type=Path, default=STATE, help=f"where the cluster is written down ({STATE})")
    return parser


def _print_environment(info: ClusterInfo) -> None:
    for name, value in info.environment.items():
        print(f"  export {name}={shlex.quote(value)}")
