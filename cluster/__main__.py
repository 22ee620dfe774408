"""`python -m cluster COMMAND`: local clusters and demos."""

from common.command_line import dispatch
from common.errors import run_command

COMMANDS = {
    "up": ("cluster.local.commands:up", "start a cluster on this machine and leave it running"),
    "down": ("cluster.local.commands:down", "end the cluster that `up` started, and nothing else"),
    "status": ("cluster.local.commands:status", "say whether that cluster runs, and how to reach it"),
    "demo": (
        "cluster.demos.commands:demo",
        "the whole experiment on a generated tool world, from expert to comparison",
    ),
    "experiment": ("cluster.experiment.commands:experiment", "expert, students of every arm, judged on unseen tools"),
    "demo-smollm2": ("cluster.demos.commands:demo_smollm2", "the same with a real pretrained model, in short"),
    "demo-toolbench": ("cluster.demos.commands:demo_toolbench", "the live pipeline on real ToolBench input, checked"),
}


def main(arguments: list[str]) -> int:
    """Call the command."""
    return dispatch("python -m cluster", COMMANDS, arguments)


if __name__ == "__main__":
    run_command(main)
