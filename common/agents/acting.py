"""One step: what a policy wrote is read as an action, and the environment answers it."""

import json
from collections.abc import Sequence

from common.agents.environment import Environment
from common.agents.types import Action, Observation, Status, Step, WrittenTurn
from common.toolbench.react import ParseError, parse_step
from common.toolbench.rows import Turn


async def act(environment: Environment, written: WrittenTurn, said_before: Sequence[Turn] = ()) -> tuple[Step, bool]:
    """The step that `written` makes, and whether the episode is done with it.

    A turn that is no call is answered as a call of a function without name is, with what is missing.
    """
    try:
        parsed = parse_step(written.text)
    except ParseError as error:
        said = json.dumps({"error": f"no function was called: {error}", "response": ""})
        observation = Observation(said, Status.NO_SUCH_FUNCTION)
        return Step(written, None, observation, tuple(said_before)), False
    action = Action(parsed.action.strip(), parsed.action_input)
    observation, done = await environment.step(action)
    return Step(written, action, observation, tuple(said_before)), done
