"""Augmentation of training rows: what a prompt offers changes, so that no name or place can be learnt by heart.

- distractors: functions that other conversations offer join the list, and their tools the lines above it;
- rename: functions and their arguments get made-up names: in the list, in calls, and where a Thought names a function;
- shuffle: the list's order, Finish last as ever.

All rows of a conversation change alike, so that one is still the beginning of the next. Descriptions, what users ask
and what tools answer stay as they are. Changes follow from the seed, the conversation's name and, for distractors, from
the conversations around it. Rows that offer no functions stay.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from random import Random
from typing import Literal, NamedTuple, get_args

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.functions import Record
from common.toolbench.names import FUNCTION_NAME_LIMIT
from common.toolbench.renaming import Renaming
from common.toolbench.rows import PromptRow, Turn
from common.toolbench.system_prompt import FUNCTIONS_LABEL, TOOLS_LABEL, is_finish, offered_functions

Change = Literal["rename", "distractors", "shuffle"]
MOST_DISTRACTORS = 5
AHEAD, POOL = 200, 2000
"""Conversations read before the first is changed; functions, of the latest ones, that distractors are drawn from."""
TOOL = re.compile(r'This is the subfunction for tool "([^"]*)"')
TOOL_LINE = re.compile(r"^\d+\.(\S*): (.*)$", re.MULTILINE)


class Distractor(NamedTuple):
    """A function of another conversation, and what that says of its tool."""

    function: Record
    tool: str
    description: str


@dataclass(frozen=True)
class Offer:
    """A system prompt: its text before the list of functions, these without Finish, and Finish where it is offered."""

    text: str
    functions: list[Record]
    finish: list[Record]

    @property
    def tools(self) -> dict[str, str]:
        """Descriptions of tools, by their names, in ToolBench's lines."""
        return dict(TOOL_LINE.findall(self.text.rpartition(TOOLS_LABEL)[2])) if TOOLS_LABEL in self.text else {}

    def __str__(self) -> str:
        return f"{self.text}{FUNCTIONS_LABEL}{[*self.functions, *self.finish]}"


@dataclass(frozen=True)
class Augmentation:
    """Which changes are made, and the seed that they follow from."""

    changes: frozenset[Change]
    seed: int = 0

    def __str__(self) -> str:
        return f" with {', '.join(sorted(self.changes))} (seed {self.seed})"

    def rows(self, rows: Iterable[PromptRow]) -> Iterator[PromptRow]:
        """The changed rows in their order."""
        traces = (list(trace) for _, trace in groupby(rows, key=lambda row: row.trace))
        pool: dict[str, Distractor] = {}
        for trace in _look_ahead(traces, pool) if "distractors" in self.changes else traces:
            yield from self._changed(trace, list(pool.values()))

    def _changed(self, trace: Sequence[PromptRow], pool: Sequence[Distractor]) -> Iterator[PromptRow]:
        words = {word for row in trace for text in _texts(row) for word in re.findall(r"\w+", text)}
        made: dict[str, tuple[Offer, Renaming | None] | None] = {}
        for row in trace:
            system = row.turns[0].content
            if system not in made:
                offer = _read(system)
                rng = Random(f"{self.seed}/{row.trace}")
                made[system] = None if offer is None else self._offer(offer, words, pool, rng)
            change = made[system]
            yield row if change is None else _rewritten(row, *change)

    def _offer(
        self, offer: Offer, words: set[str], pool: Sequence[Distractor], rng: Random
    ) -> tuple[Offer, Renaming | None]:
        """The changed offer, and the names that are to be changed with it."""
        renaming = None
        if "distractors" in self.changes:
            offer = _with_distractors(offer, pool, rng)
        if "rename" in self.changes:
            words = words | set(re.findall(r"\w+", str(offer)))
            renaming = Renaming(offer.functions, words, rng)
            offer = replace(offer, functions=[renaming.function(each) for each in offer.functions])
        if "shuffle" in self.changes:
            offer = replace(offer, functions=rng.sample(offer.functions, len(offer.functions)))
        return offer, renaming


def parse_changes(text: str) -> frozenset[Change]:
    """Changes with commas between them. Raises UserError for another one, or none."""
    names, known = text.split(","), get_args(Change)
    if wrong := [name for name in names if name not in known]:
        raise UserError(f"got --augment {text}, expected some of {', '.join(known)} with commas, not {wrong[0]!r}")
    return frozenset(change for change in known if change in names)


def _look_ahead(traces: Iterable[list[PromptRow]], pool: dict[str, Distractor]) -> Iterator[list[PromptRow]]:
    """The traces, each once the functions of AHEAD more are in the `pool`."""
    waiting: deque[list[PromptRow]] = deque()
    for trace in traces:
        waiting.append(trace)
        for system in {row.turns[0].content: None for row in trace}:
            _keep(_read(system), pool)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _keep(offer: Offer | None, pool: dict[str, Distractor]) -> None:
    """Put the offer's functions into the pool, in place of its oldest."""
    tools = offer.tools if offer else {}
    for function in offer.functions if offer else ():
        name = function["name"]
        pool.pop(name, None)
        if len(name) <= FUNCTION_NAME_LIMIT:
            found = TOOL.match(str(function.get("description")))
            tool = found[1] if found else ""
            pool[name] = Distractor(function, tool, tools.get(tool, "None"))
    while len(pool) > POOL:
        pool.pop(next(iter(pool)))


def _with_distractors(offer: Offer, pool: Sequence[Distractor], rng: Random) -> Offer:
    """The offer with some of the pool's functions among its own, none of them of a name that it has."""
    own = {function["name"] for function in offer.functions}
    others = [each for each in pool if each.function["name"] not in own]
    functions, text, tools = list(offer.functions), offer.text, offer.tools
    for distractor in rng.sample(others, min(rng.randint(1, MOST_DISTRACTORS), len(others))):
        functions.insert(rng.randint(0, len(functions)), distractor.function)
        if tools and distractor.tool and distractor.tool not in tools:
            tools[distractor.tool] = distractor.description
            text += "" if text.endswith("\n") else "\n"
            text += f"{len(tools)}.{distractor.tool}: {distractor.description}\n"
    return replace(offer, text=text, functions=functions)


def _read(system: str) -> Offer | None:
    """The offer of a system prompt; None where it has none that can be read."""
    try:
        functions = offered_functions(system)
    except BadRecord:
        return None
    ends = [is_finish(function) for function in functions]
    others = [function for function, end in zip(functions, ends, strict=True) if not end]
    finish = [function for function, end in zip(functions, ends, strict=True) if end]
    return Offer(system.rpartition(FUNCTIONS_LABEL)[0], others, finish)


def _texts(row: PromptRow) -> list[str]:
    return [*(turn.content for turn in row.turns), row.completion or ""]


def _rewritten(row: PromptRow, offer: Offer, renaming: Renaming | None) -> PromptRow:
    system = Turn("system", str(offer))
    if renaming is None:
        return replace(row, turns=(system, *row.turns[1:]))
    turns = [renaming.turn(turn, first=index == 0) for index, turn in enumerate(row.turns[1:])]
    completion = row.completion and renaming.said(row.completion)
    return replace(row, turns=(system, *turns), completion=completion)
