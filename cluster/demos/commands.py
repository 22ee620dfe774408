"""`python -m cluster demo | demo-toolbench`: parse first, import heavy things after."""

import argparse

from cluster.demos.settings import DemoSettings, ToolBenchDemoSettings
from common.settings import load


def demo(arguments: list[str]) -> int:
    """Run the whole experiment on the generated tool world."""
    settings = load(DemoSettings, *_config_and_overrides("demo", arguments))
    from cluster.demos.tool_world import run_demo

    return run_demo(settings)


def demo_toolbench(arguments: list[str]) -> int:
    """Check the live pipeline on real input; the override --toolbench PATH says where it is."""
    settings = load(ToolBenchDemoSettings, *_config_and_overrides("demo-toolbench", arguments))
    from cluster.demos.toolbench import run_toolbench_demo

    return run_toolbench_demo(settings)


def _config_and_overrides(command: str, arguments: list[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(prog=f"python -m cluster {command}", allow_abbrev=False)
    parser.add_argument("config", help=f"YAML of demo settings, such as cluster/configs/{command}.yaml")
    known, overrides = parser.parse_known_args(arguments)
    return known.config, overrides
