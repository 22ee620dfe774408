"""Made-up names for a prompt's functions and their arguments, put into everything that says them."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from random import Random
from typing import Any

from common.toolbench.functions import Record
from common.toolbench.react import THOUGHT, ParseError, Step, parse_step, read_object, render_step, split_reasoning
from common.toolbench.rows import Turn

SYLLABLES = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]
CANDIDATE = re.compile(r'"name": ("(?:[^"\\]|\\.)*"),(\s*)"arguments": ("(?:[^"\\]|\\.)*")')
"""How DFSDT's diversity prompt tells of an earlier call: a name, and arguments as JSON text in JSON."""
STYLES: list[dict[str, Any]] = [
    {"ensure_ascii": ascii, "indent": indent} for ascii, indent in product((False, True), (None, 2, 4))
] + [{"ensure_ascii": ascii, "separators": (",", ":")} for ascii in (False, True)]
"""Ways in which people write JSON, the first where none of them is recognised."""


class Renaming:
    """New names for `functions` and their arguments, none of which is among `taken`.

    An argument that several functions have keeps one name in all of them.
    """

    def __init__(self, functions: Sequence[Record], taken: Collection[str], rng: Random) -> None:
        used = set(taken)
        self._arguments_of: dict[str, set[str]] = {}
        for function in functions:
            self._arguments_of.setdefault(function["name"], set()).update(_arguments(function))
        arguments = dict.fromkeys(name for function in functions for name in _arguments(function))
        self._functions = {name: _new_name(rng, used, words=2) for name in self._arguments_of}
        self._arguments = {name: _new_name(rng, used, words=1) for name in arguments}
        names = sorted(map(re.escape, self._functions), key=len, reverse=True)
        self._mention = re.compile(rf"(?<!\w)(?:{'|'.join(names) or '(?!)'})(?!\w)")

    def function(self, function: Record) -> Record:
        """The function as a prompt's list describes it."""
        parameters = function.get("parameters") or {}
        renamed: Record = {}
        if isinstance(parameters.get("properties"), dict):
            renamed["properties"] = self._renamed(parameters["properties"])
        for key in ("required", "optional"):
            if isinstance(parameters.get(key), list):
                renamed[key] = [self._arguments.get(name, name) for name in parameters[key]]
        named = function | {"name": self._functions[function["name"]]}
        return named | {"parameters": parameters | renamed} if renamed else named

    def turn(self, turn: Turn, first: bool) -> Turn:
        """A turn behind the system prompt; the `first` is the task, which stays."""
        if turn.role == "assistant":
            return Turn("assistant", self.said(turn.content))
        return Turn("user", self.told(turn.content)) if turn.role == "user" and not first else turn

    def said(self, text: str) -> str:
        """A turn of the assistant's: its call, and what its Thought mentions."""
        try:
            step = parse_step(text)
        except ParseError:
            return self._mentions(text)
        _, rest = split_reasoning(text)
        before = text[: len(text) - len(rest) + rest.index(THOUGHT)]
        arguments = self._call(step.action, step.action_input)
        named = Step(self._mentions(step.thought), self._functions.get(step.action, step.action), arguments)
        return self._mentions(before) + render_step(named).removeprefix("\n")

    def told(self, text: str) -> str:
        """A user turn within a conversation, which may tell of earlier calls."""
        return CANDIDATE.sub(self._candidate, text)

    def _candidate(self, match: re.Match[str]) -> str:
        name, arguments = json.loads(match[1], strict=False), json.loads(match[3], strict=False)
        renamed = json.dumps(self._functions.get(name, name)), json.dumps(self._call(name, arguments))
        return f'"name": {renamed[0]},{match[2]}"arguments": {renamed[1]}'

    def _call(self, name: str, arguments: str) -> str:
        """The arguments of a call of the function `name`, written as they were."""
        given = read_object(arguments)
        if given is None or name not in self._functions:
            return arguments
        own = self._arguments_of[name]
        renamed = {self._arguments[key] if key in own else key: value for key, value in given.items()}
        style = next((style for style in STYLES if json.dumps(given, **style) == arguments), STYLES[0])
        return json.dumps(renamed, **style)

    def _renamed(self, named: Mapping[str, Any]) -> dict[str, Any]:
        return {self._arguments.get(name, name): value for name, value in named.items()}

    def _mentions(self, text: str) -> str:
        return self._mention.sub(lambda match: self._functions[match[0]], text)


def _arguments(function: Record) -> list[str]:
    """Names of the function's arguments, wherever its parameters say them; blank ones are none."""
    parameters = function.get("parameters") or {}
    said = [parameters.get(key) or [] for key in ("properties", "required", "optional")]
    return [name for names in said for name in names if isinstance(name, str) and name.strip()]


def _new_name(rng: Random, used: set[str], words: int) -> str:
    """A name of that many made-up words, which then is among `used`."""
    while True:
        name = "_".join("".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))) for _ in range(words))
        if name not in used:
            used.add(name)
            return name
