"""Is a completion one that a tool environment can run? Four checks, the detector of a collapsed format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.toolbench.functions import required_parameters
from common.toolbench.react import ParseError, parse_step, read_object


@dataclass(frozen=True)
class FormatReport:
    """What holds of one completion. A check that another one rests on fails with it."""

    parses: bool
    """It is a Thought, an Action and an Action Input."""
    names_offered_api: bool
    """The action is one of the offered functions, Finish included."""
    arguments_are_json: bool
    """The action input is a JSON object."""
    required_present: bool
    """The object has every parameter that the function requires."""

    @property
    def valid(self) -> bool:
        """Whether all four hold."""
        return self.parses and self.names_offered_api and self.arguments_are_json and self.required_present


def check_completion(text: str, offered: Sequence[dict[str, Any]]) -> FormatReport:
    """Check `text`, in ToolBench's form as `Renderer.react` gives it, against the functions that its prompt offers.

    `system_prompt.offered_functions` reads them, and raises BadRecord for a prompt that can't be checked against.
    """
    try:
        step = parse_step(text)
    except ParseError:
        return FormatReport(False, False, False, False)
    arguments = read_object(step.action_input)
    required = [required_parameters(function) for function in offered if function["name"] == step.action]
    complete = arguments is not None and any(names <= set(arguments) for names in required)
    return FormatReport(True, bool(required), arguments is not None, complete)
