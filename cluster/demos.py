"""`python -m cluster demo | demo-smollm2 | demo-toolbench`: parse first, import heavy things after."""

import argparse

from cluster.demo_settings import DemoSettings, SmolLM2DemoSettings, ToolBenchDemoSettings
from common.settings import load


def demo(arguments: list[str]) -> int:
    """Tell the whole story on the generated world."""
    settings = load(DemoSettings, *_config_and_overrides("demo", arguments))
    from cluster.demo import run_demo

    return run_demo(settings)


def demo_smollm2(arguments: list[str]) -> int:
    """Make an expert of a real pretrained model and distil it live."""
    settings = load(SmolLM2DemoSettings, *_config_and_overrides("demo-smollm2", arguments))
    from cluster.demo_smollm2 import run_smollm2_demo

    return run_smollm2_demo(settings)


def demo_toolbench(arguments: list[str]) -> int:
    """Check the live pipeline on real input; the override --toolbench PATH says where it is."""
    settings = load(ToolBenchDemoSettings, *_config_and_overrides("demo-toolbench", arguments))
    from cluster.demo_toolbench import run_toolbench_demo

    return run_toolbench_demo(settings)


def _config_and_overrides(command: str, arguments: list[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(prog=f"python -m cluster {command}", allow_abbrev=False)
    parser.add_argument("config", help=f"YAML of demo settings, such as cluster/configs/{command}.yaml")
    known, overrides = parser.parse_known_args(arguments)
    return known.config, overrides
