"""What surrounds an agent's steps, without them: whole prompts, API pages, observations and final answers."""

import json
import re
from collections.abc import Iterator, Sequence

from common.world.catalogue import Api
from common.world.coded.corpus.answers import answer
from common.world.coded.corpus.lessons import answered, need, note
from common.world.coded.corpus.scene import Scene
from common.world.tasks import Call, Task
from common.world.traces import observation, opening

_DRESSES = (
    ("Log", "Note", "Tool", "Given"),
    ("Diary", "Remark", "Call", "With"),
    ("Minutes", "Idea", "Used", "Values"),
    ("Report", "Plan", "Name", "Fields"),
)
"""How the parts of a step are labelled: never as an agent's turns are."""
_REPLY = "Reply"
"""What stands for the last step's function."""
_DONE = ("That is all that was asked.", "No more is wanted.", "Now it can be told.")
_MOST_NOTES = 8
_SHARE = 0.5
"""Of queries and notes that use other words."""


def prompts(scene: Scene) -> str:
    """A whole prompt, as in a conversation, what was called and returned under other labels, and notes on the rest."""
    task, rng = scene.task(_SHARE), scene.rng
    system, user = opening(task.apis, task.query)
    notes = [note(scene, api, rng.random() < _SHARE) for api in task.apis]
    rng.shuffle(notes)
    return "\n".join(
        [
            f"System: {system.content}",
            f"User: {user.content}",
            *_log(scene, task),
            f"Notes: \n{_wanted(task)}",
            *notes[:_MOST_NOTES],
        ]
    )


def _log(scene: Scene, task: Task) -> Iterator[str]:
    """Every call with a note on what it is for, what it returned, and the reply in the end."""
    turn, thought, action, values = scene.rng.choice(_DRESSES)

    def step(said: str, name: str, given: str) -> str:
        return f"{turn}: \n{thought}: {said}\n{action}: {name}\n{values}: {given}"

    for call in task.calls:
        said = need(scene, call.api, answer(call.said) if call.said else scene.say(call.api, other_word=False))
        yield step(said, answered(call.api), _mark(json.dumps(call.arguments), _subject(call)))
        yield f"Function: {observation(call)}"
    yield step(scene.rng.choice(_DONE), _REPLY, f'{{"text": "{_answer(task)}"}}')


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
