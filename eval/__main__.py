"""`python -m eval COMMAND`: what a served model, or an agent of it, is worth."""

from common.command_line import dispatch
from common.errors import run_command

COMMANDS = {
    "score": (
        "eval.commands:score",
        "loss of recorded completions, form and actions of written ones, as tables",
    ),
    "qualify": ("eval.commands:qualify", "whether a teacher may teach: its figures on held-out rows, and thresholds"),
    "rollout": ("eval.commands:rollout", "episodes of an agent in an environment, their trajectories and a table"),
    "check-data": ("eval.commands:check_data", "what is wrong with data, record by record, and how to mend it"),
    "compare": ("eval.commands:compare", "a report of an experiment, or of runs side by side, from their folders"),
    "episodes": ("eval.commands:episodes", "what rollouts came to, several models side by side"),
    "tooleval": ("eval.commands:tooleval", "pass rate, win rate, SoPR, SoWR and FAC of agents' answers, by a judge"),
}


def main(arguments: list[str]) -> int:
    """Call the command."""
    return dispatch("python -m eval", COMMANDS, arguments)


if __name__ == "__main__":
    run_command(main)
