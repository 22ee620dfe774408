"""Documents to pretrain base models on: prompts with notes about them, API pages, observations and lists that repeat.

They hold no Thought and no Action: a base model knows tools and how to copy, and the form of a step is left to LoRA.
Every document invents its own tools, in all categories: what is unseen in a world is unseen in its traces.
"""

import json
from collections.abc import Callable, Iterator
from random import Random

from common.world import names
from common.world.catalogue import Api, Tool
from common.world.entities import ID
from common.world.named.domains import DOMAINS, HELD_OUT_DOMAINS, facts_of
from common.world.named.facts import Inventions
from common.world.named.tasks import draw_task
from common.world.named.tools import make_tool
from common.world.prose import passage
from common.world.tasks import Call, Task
from common.world.traces import observation, system_prompt


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` documents."""
    rng = Random(f"{seed} corpus")
    kinds = (_annotated_prompt, _api_page, _reports, _lists, _prose)
    for kind in rng.choices(kinds, weights=(60, 5, 8, 22, 5), k=count):
        yield kind(rng)


def _annotated_prompt(rng: Random) -> str:
    """A whole prompt, as in a conversation, with notes on its functions, its query and what functions returned."""
    task = draw_task(rng, _invent_tools(rng), Inventions())
    parts = [f"System: {system_prompt(task.apis)}", f"User: \n{task.query}\nBegin!\n"]
    shown = rng.randint(0, len(task.calls))
    parts += [f"Function: {observation(call)}" for call in task.calls[:shown]]
    notes = [*_notes_on_functions(task), *_notes_on_calls(task), *_notes_on_results(task.calls[:shown])]
    return "\n".join([*parts, "Notes: ", *rng.sample(notes, min(len(notes), 12))])


def _notes_on_functions(task: Task) -> list[str]:
    notes = []
    for api in task.apis:
        parameters = ", ".join(parameter.name for parameter in (*api.required, *api.optional))
        notes.append(f"The function that gives the {api.attribute.name} is {api.function}")
        notes.append(f"{api.function} takes {parameters}")
    return notes


def _notes_on_calls(task: Task) -> list[str]:
    """What the query asks for, which function that needs, and with which arguments."""
    wanted = [call for call in task.calls if call.api.attribute != ID]
    notes = ["The user wants the " + " and the ".join(call.api.attribute.name for call in wanted)]
    for call in task.calls:
        notes.append(f"To help the user, the {call.api.attribute.name} comes from {call.api.function}")
        notes.append(f"{call.api.function} is asked with {json.dumps(call.arguments)}")
    return notes


def _notes_on_results(calls: tuple[Call, ...]) -> list[str]:
    notes = []
    for call in calls:
        subject = next(iter(call.arguments.values()))
        fact = call.api.attribute.name
        notes.append(f"The {fact} of {subject} is {call.response[fact]}")
        notes.append(f"Known: {json.dumps(call.response)}")
    return notes


def _api_page(rng: Random) -> str:
    tool = rng.choice(_invent_tools(rng))
    lines = [f"{tool.name} ({tool.category}): {tool.description}"]
    for api in tool.all_apis:
        lines += [f"{api.name}: {api.description}. Call it as {api.function}.", *_parameter_lines(api)]
    return "\n".join(lines)


def _parameter_lines(api: Api) -> list[str]:
    both = (*api.required, *api.optional)
    return [
        f"  {parameter.name} ({parameter.kind}): {parameter.description}, {parameter.example}" for parameter in both
    ]


def _reports(rng: Random) -> str:
    """Queries with what functions returned, and the answers that they allow."""
    lines = []
    for _ in range(3):
        task = draw_task(rng, _invent_tools(rng), Inventions())
        lines += [task.query, *(observation(call) for call in task.calls), task.answer, ""]
    return "\n".join(lines)


def _lists(rng: Random) -> str:
    """Words repeated in other dress: the plainest lesson in copying."""
    makers: tuple[Callable[[Random], str], ...] = (names.proper_name, names.identifier, names.tool_name)
    words = [rng.choice(makers)(rng) for _ in range(rng.randint(4, 10))]
    lines = [", ".join(words)]
    for _ in range(3):
        again = words if rng.random() < 0.8 else rng.sample(words, len(words))
        dress = rng.choice(("{}", '"{}"', "get_{}_for", "'{}': 1", "the {} of"))
        lines.append("Again: " + ", ".join(dress.format(word) for word in again))
    return "\n".join(lines)


def _prose(rng: Random) -> str:
    tool = rng.choice(_invent_tools(rng))
    return "\n".join(passage(rng, rng.choice(facts_of(tool.thing)), names.proper_name(rng)) for _ in range(2))


def _invent_tools(rng: Random) -> tuple[Tool, ...]:
    domain = rng.choice(DOMAINS + HELD_OUT_DOMAINS)
    return tuple(make_tool(rng, domain, names.tool_name(rng)) for _ in range(2))
