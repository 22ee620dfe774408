"""`python -m cluster COMMAND`: local clusters and demos."""

from importlib import import_module

from common.errors import UserError, run_command

COMMANDS = {
    "up": ("cluster.control:up", "start a cluster on this machine and leave it running"),
    "down": ("cluster.control:down", "end the cluster that `up` started, and nothing else"),
    "status": ("cluster.control:status", "say whether that cluster runs, and how to reach it"),
    "demo": ("cluster.demos:demo", "the whole story on a generated tool world, from expert teacher to comparison"),
    "demo-smollm2": ("cluster.demos:demo_smollm2", "the same with a real pretrained model, in short"),
    "demo-toolbench": ("cluster.demos:demo_toolbench", "the live pipeline on real ToolBench input, checked"),
}
"""By name: `module:function`, imported when it is called with the arguments left, and what it does."""


def main(arguments: list[str]) -> int:
    """Dispatch to the command's function."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"got the command {name!r}, expected one of: {', '.join(COMMANDS)}")
    module, function = COMMANDS[name][0].split(":")
    return int(getattr(import_module(module), function)(rest))


def _usage() -> str:
    lines = [f"  {name:15} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m cluster COMMAND ... (COMMAND --help says more)", *lines])


if __name__ == "__main__":
    run_command(main)
