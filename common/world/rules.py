"""Rules of a few lines that play the generated tool world: what can be solved without the skill that is to be learnt.

All read the query, find the ids that calls need, and fill in parameters, without fault. They differ in how they choose
the API that tells a fact.
"""

import ast
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from common.toolbench.status import Status
from common.toolbench.system_prompt import offered_functions
from common.world.checking import solves
from common.world.coded.words import NAME_OF, UNITS
from common.world.entities import Fact
from common.world.execute import execute
from common.world.tasks import Task
from common.world.traces import system_prompt
from common.world.world import World

Function = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A function that may tell a fact, which a query says in these words, of a thing; and all that are on offer."""

    function: Function
    fact: str
    thing: str
    offered: Sequence[Function]


Rule = Callable[[Candidate], float]
"""How well a candidate looks; of equal ones the first on offer is taken."""
QUERY = re.compile(r"(?:What is|tell me|want to know|you find) the (.+?) of (.+?)(?: for me)?[.?]$")


def first(candidate: Candidate) -> float:
    """All alike: the first on offer is taken."""
    return 0


def names(candidate: Candidate) -> float:
    """Words that the function's name holds."""
    return len(words(candidate.function["name"]) & words(candidate.fact))


def tools(candidate: Candidate) -> float:
    """Whether it is of the tool that is most on offer, or of one that finds ids."""
    finding = {tool_of(each) for each in candidate.offered if is_finder(each)}
    own = tool_of(candidate.function)
    return len(candidate.offered) * (own in finding) + sum(tool_of(each) == own for each in candidate.offered)


def descriptions(candidate: Candidate) -> float:
    """Words that its description, or that of its unit, holds."""
    return len(words(what_it_does(candidate.function)) & words(f"{candidate.fact} {candidate.thing}"))


def meanings(candidate: Candidate) -> float:
    """The same, whichever words say it: this rule has the skill."""
    text = what_it_does(candidate.function)
    said, asked = ({NAME_OF.get(each, each) for each in words(each)} for each in (text, candidate.fact))
    return len(said & asked) + 4 * (asked <= said) + 2 * (f"a {candidate.thing}" in text)


def demonstrated(demonstrations: Sequence[Task]) -> Rule:
    """Likeness to the queries for which demonstrations called the function: all of training learnt by heart."""
    seen: dict[str, list[set[str]]] = {}
    for task in demonstrations:
        for call in task.calls:
            seen.setdefault(call.api.function, []).append(words(task.query))

    def rule(candidate: Candidate) -> float:
        queries = seen.get(candidate.function["name"], [])
        return max((len(words(f"{candidate.fact} {candidate.thing}") & each) for each in queries), default=0)

    return rule


def functions_of(task: Task) -> list[Function]:
    """What its prompt offers, Finish apart."""
    return offered_functions(system_prompt(task.apis))[:-1]


def play(world: World, task: Task, functions: Sequence[Function], rule: Rule) -> bool:
    """Whether the rule solves the task when it is offered `functions`."""
    return _Episode(world, task, functions).play(rule)


def shuffle(functions: Sequence[Function], rng: Random) -> list[Function]:
    """Shuffle the descriptions of the functions that tell facts."""
    telling = [function["name"] for function in functions if not is_finder(function)]
    texts = [function["description"] for function in functions if not is_finder(function)]
    moved = dict(zip(telling, rng.sample(texts, len(texts)), strict=True))
    return [{**each, "description": moved.get(each["name"], each["description"])} for each in functions]


def words(text: str) -> set[str]:
    """Its words, function names taken apart, without those that any query has."""
    return set(re.findall(r"[a-z]+", text.lower().replace("_", " "))) - {"the", "of", "and", "for", "in", "get", "a"}


def what_it_does(function: Function) -> str:
    """Its own description, and what its parameter says of units."""
    unit = function["parameters"]["properties"].get("unit", {})
    return f"{function['description'].rpartition('is: ')[2]} {unit.get('description', '')}"


def tool_of(function: Function) -> str:
    """Its tool's name."""
    return str(function["name"]).rpartition("_for_")[2]


def is_finder(function: Function) -> bool:
    """Whether it finds an id."""
    return '"Find' in function["description"]


@dataclass
class _Episode:
    world: World
    task: Task
    functions: Sequence[Function]
    told: set[Fact] = field(default_factory=set)

    def play(self, rule: Rule) -> bool:
        match = QUERY.search(self.task.query)
        assert match is not None, self.task.query
        *things, subject = match[2].removeprefix("the ").replace(" of the ", " ").split()
        found = {}
        for fact in match[1].split(" and the "):
            value = self._ask(fact, things, subject, rule)
            if value is None:
                return False
            found[fact] = value
        answer = " and the ".join(f"{fact} is {value}" for fact, value in found.items())
        return solves(self.world, self.task.query, self.task.asked, self.told, f"The {answer}.")

    def _ask(self, fact: str, things: list[str], subject: str, rule: Rule) -> Any:
        """The value that the best function tells, or the next one where that fails."""
        thing = things[0] if things else ""
        candidates = [function for function in self.functions if not is_finder(function)]
        for function in sorted(candidates, key=lambda each: -rule(Candidate(each, fact, thing, self.functions))):
            response = self._call(function, fact, things, subject)
            if response is not None:
                return response.get(fact, [*response.values()][-1])
        return None

    def _call(self, function: Function, fact: str, things: list[str], subject: str) -> dict[str, Any] | None:
        properties = function["parameters"]["properties"]
        parameter, *others = properties
        key = self._key(parameter, things, subject)
        if key is None:
            return None
        arguments: dict[str, Any] = {parameter: "#" * ("#" in properties[parameter]["description"]) + key}
        for name in others:
            if name in function["parameters"]["required"]:
                example = properties[name]["example_value"]
                arguments[name] = example if properties[name]["type"] == "string" else json.loads(example)
            if name == "unit":
                arguments[name] = next(iter(words(fact + " in") & UNITS), arguments.get(name, "kilos"))
        text, status, facts = execute(self.world, function["name"], json.dumps(arguments))
        self.told |= set(facts)
        return ast.literal_eval(json.loads(text)["response"]) if status == Status.OK else None

    def _key(self, parameter: str, things: list[str], subject: str) -> str | None:
        """What to say for the parameter: the subject, or an id that other functions find."""
        thing, is_id = parameter.removesuffix("_id"), parameter.endswith("_id")
        if not things or thing in (things[-1], "name"):
            if is_id == subject[-1].isdigit():
                return subject
        elif thing != things[0]:
            return None
        for finder in filter(is_finder, self.functions):
            if is_id and (f"id of a {thing}" in finder["description"] or f"the {thing} of" in finder["description"]):
                response = self._call(finder, "", things[-1:], subject)
                return [*response.values()][-1] if response else None
        return None
