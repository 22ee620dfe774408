"""`python -m cluster demo | demo-smollm2 | demo-toolbench`: parse first, import heavy things after."""

from cluster.demos.settings import DemoSettings, SmolLM2DemoSettings, ToolBenchDemoSettings
from common.command_line import settings_of


def demo(arguments: list[str]) -> int:
    """Run the whole experiment on the generated tool world."""
    settings = settings_of(DemoSettings, "python -m cluster demo", demo.__doc__, arguments)
    from cluster.demos.tool_world import run_demo

    return run_demo(settings)


def demo_smollm2(arguments: list[str]) -> int:
    """Make an expert of a real pretrained model and distil it live."""
    settings = settings_of(SmolLM2DemoSettings, "python -m cluster demo-smollm2", demo_smollm2.__doc__, arguments)
    from cluster.demos.smollm2 import run_smollm2_demo

    return run_smollm2_demo(settings)


def demo_toolbench(arguments: list[str]) -> int:
    """Check the live pipeline on real input; the override --toolbench PATH says where it is."""
    settings = settings_of(ToolBenchDemoSettings, "python -m cluster demo-toolbench", demo_toolbench.__doc__, arguments)
    from cluster.demos.toolbench import run_toolbench_demo

    return run_toolbench_demo(settings)
