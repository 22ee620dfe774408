"""What surrounds an agent's steps, without them: whole prompts, API pages, observations and answers."""

import json

from common.world.catalogue import Api
from common.world.coded.corpus.scene import Scene
from common.world.responses import FAILURES
from common.world.tasks import Task
from common.world.traces import observation, opening

_MOST_NOTES = 12
_SHARE = 0.5
"""Of tasks whose queries use other words."""


def prompts(scene: Scene) -> str:
    """A whole prompt, as in a conversation, some observations, and notes on what it asks and what it was told."""
    task, rng = scene.task(_SHARE), scene.rng
    system, user = opening(task.apis, task.query)
    shown = task.calls[: rng.randint(0, len(task.calls))]
    parts = [
        f"System: {system.content}",
        f"User: {user.content}",
        *(f"Function: {observation(call)}" for call in shown),
    ]
    notes = [*_notes(task), *(f"Known: {json.dumps(call.response)}" for call in shown)]
    return "\n".join([*parts, "Notes: ", *rng.sample(notes, min(len(notes), _MOST_NOTES))])


def pages(scene: Scene) -> str:
    """A tool's documentation."""
    tool = scene.tools[0]
    lines = [f"{tool.name} ({tool.category}):"]
    for api in tool.all_apis:
        lines += [f"{api.name}: {api.description}. Call it as {api.function}.", *_parameters(api)]
    return "\n".join(lines)


def reports(scene: Scene) -> str:
    """Queries with what functions returned, and the answers that they allow."""
    lines = []
    for _ in range(3):
        task = scene.task(_SHARE)
        lines += [task.query, *map(observation, task.calls), task.answer, ""]
    return "\n".join(lines)


def _notes(task: Task) -> list[str]:
    """What the functions take, and with what the query's are asked, in its own words."""
    notes = [f"{api.function} takes {', '.join(api.parameters)}" for api in task.apis]
    for call in task.calls:
        notes.append(f"{call.api.function} is asked with {json.dumps(call.arguments)}")
        if call.api.status in FAILURES:
            notes.append(f"{call.api.function} does not work")
        elif call.said:
            notes.append(f"To help the user, the {call.said} comes from {call.api.function}")
        else:
            notes.append(f"The {call.api.key} comes from {call.api.function}")
    return notes


def _parameters(api: Api) -> list[str]:
    return [f"  {each.name} ({each.kind}): {each.description}, {each.example}" for each in api.parameters.values()]
