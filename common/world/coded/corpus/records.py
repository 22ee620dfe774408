"""What surrounds an agent's steps, without them: whole prompts, API pages, observations and final answers."""

import json
import re
from collections.abc import Sequence

from common.world.catalogue import Api
from common.world.coded.corpus.answers import answer
from common.world.coded.corpus.lessons import note
from common.world.coded.corpus.scene import Scene
from common.world.responses import FAILURES
from common.world.tasks import Call, Task
from common.world.traces import observation, opening

_MOST_NOTES = 12
_SHARE = 0.5
"""Of queries and notes that use other words."""


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
    needed = [note(scene, api, rng.random() < _SHARE) for api in task.apis for _ in range(2)]
    notes = [*needed, *_notes(task, len(shown)), *(f"Known: {json.dumps(call.response)}" for call in shown)]
    rng.shuffle(notes)
    found = [f"All is known: {_answer(task)}"] if len(shown) == len(task.calls) else []
    return "\n".join([*parts, "Notes: ", _wanted(task), *notes[:_MOST_NOTES], *found])


def pages(scene: Scene) -> str:
    """A tool's documentation."""
    tool = scene.tools[0]
    lines = [f"{tool.name} ({tool.category}):"]
    for api in tool.all_apis:
        lines += [f'{api.name}: {api.description}. Call it as "{api.function}".', *_parameters(api)]
    return "\n".join(lines)


def reports(scene: Scene) -> str:
    """Queries with what functions returned, and the answers that they allow."""
    lines = []
    for _ in range(3):
        task = scene.task(_SHARE)
        lines += [task.query, *map(observation, task.calls), _answer(task), ""]
    return "\n".join(lines)


def _notes(task: Task, shown: int) -> list[str]:
    """What the functions take, and with what those are asked that were called, `shown` in number, or come next."""
    notes = [f"{api.function} takes {', '.join(api.parameters)}" for api in task.apis]
    for call in task.calls[: shown + 1]:
        notes.append(f"{call.api.function} is asked with {_mark(json.dumps(call.arguments), _subject(call))}")
        if call.api.status in FAILURES:
            notes.append(f"{call.api.function} does not work")
    return notes


def _wanted(task: Task) -> str:
    """What the query asks for, in its own words."""
    said = dict.fromkeys(call.said for call in task.calls if call.said)
    return "The user wants the " + " and the ".join(map(answer, said))


def _answer(task: Task) -> str:
    """The final answer, its words and values from the query and the responses marked."""
    values = [str(value) for call in task.calls for value in call.response.values()]
    return _mark(task.answer, [*(call.said for call in task.calls if call.said), *values])


def _subject(call: Call) -> list[str]:
    """By which parameter a call says what it is about, and what that is."""
    value = str(call.arguments[call.api.subject])
    return [call.api.subject, value.removeprefix(call.api.required[0].prefix)]


def _mark(text: str, parts: Sequence[str]) -> str:
    """Return `text` with all `parts` of it marked."""
    return re.sub("|".join(rf"(?<!\w){re.escape(part)}(?!\w)" for part in parts), lambda part: answer(part[0]), text)


def _parameters(api: Api) -> list[str]:
    return [f"  {each.name} ({each.kind}): {each.description}, {each.example}" for each in api.parameters.values()]
