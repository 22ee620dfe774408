"""An episode as a person reads it: each step's thought, action and observation."""

import json

from rich.console import Console, Group
from rich.markup import escape
from rich.rule import Rule
from rich.text import Text

from common.agents.types import Step, Trajectory
from common.toolbench.react import ParseError, parse_step


def transcript(trajectory: Trajectory) -> Group:
    """The question, every step, and how the episode ended. What models and tools said is shown as plain text."""
    solved = {True: "solved", False: "not solved", None: "not judged"}[trajectory.solved]
    parts: list[Text | Rule] = [Rule(escape(f"episode {trajectory.episode}"), style="dim")]
    parts.append(Text.assemble(("asked        ", "bold"), trajectory.query.strip()))
    for number, step in enumerate(trajectory.steps, start=1):
        parts += _step(number, step)
    parts.append(Text(f"{trajectory.stop}, {solved}", style="bold"))
    return Group(*parts)


def _step(number: int, step: Step) -> list[Text]:
    try:
        parsed = parse_step(step.written.text)
        said = [
            ("thought", parsed.thought.strip()),
            ("action", f"{parsed.action.strip()} {parsed.action_input.strip()}"),
        ]
    except ParseError:
        said = [("wrote", step.written.text.strip())]
    status = "" if step.observation.status == 0 else f"[{step.observation.status.name.lower()}] "
    said.append(("observed", status + _response(step.observation.text)))
    return [
        Text.assemble((f"{number if not at else ' '}  {what:10}", "cyan"), text) for at, (what, text) in enumerate(said)
    ]


def _response(observation: str) -> str:
    """What stands in ToolBench's `response`, or its `error`; all of it where it has another form."""
    try:
        said = json.loads(observation)
    except (ValueError, RecursionError):
        return observation
    if not isinstance(said, dict):
        return observation
    return str(said.get("response") or said.get("error") or observation)


def show(console: Console, trajectory: Trajectory) -> None:
    """Print an episode."""
    console.print(transcript(trajectory), soft_wrap=True)
