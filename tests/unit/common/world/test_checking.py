"""Near misses: whatever differs from a solution in one point is none."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from common.world.checking import solves
from common.world.coded.words import BY_NAME, MOMENTS
from common.world.entities import Fact
from common.world.execute import execute
from common.world.names import proper_names
from common.world.settings import Difficulty
from common.world.tasks import Task
from common.world.world import World
from tests.unit.common.world.worlds import DIFFICULTIES, drawn


@dataclass(frozen=True)
class Attempt:
    """A solved task: what its calls told, and its final answer."""

    world: World
    task: Task
    told: frozenset[Fact]
    answer: str

    @property
    def fact(self) -> Fact:
        return self.task.asked[-1]

    @property
    def value(self) -> str:
        return str(self.world.table.value(self.fact))

    @property
    def word(self) -> str:
        """The word by which the answer calls the last fact."""
        words = [word for word in re.findall(r"[a-z]+", self.answer) if word in self.world.words]
        return [word for word in words if self.world.words[word] == self.fact.attribute.name][-1]

    def says(self, old: str, new: str) -> "Attempt | None":
        """The answer with `new` for the last `old` that is a word; None where there is none."""
        before, *found = re.split(rf"\b{re.escape(old)}\b", self.answer)
        return replace(self, answer=f"{old}".join([before, *found[:-1]]) + new + found[-1]) if found else None

    def tells(self, **changes: str) -> "Attempt":
        """The last fact replaced by another among those told."""
        values = {key: value for key, value in changes.items() if key in ("thing", "name")}
        attribute = self.fact.attribute._replace(**{k: v for k, v in changes.items() if k in ("moment", "unit")})
        other = self.fact._replace(attribute=attribute, **values)
        return replace(self, told=self.told - {self.fact} | {other})


def another(word: str, words: tuple[str, ...]) -> str:
    return words[(words.index(word) + 1) % len(words)]


def other_value(attempt: Attempt) -> str:
    value = attempt.value
    return str(int(value) + 1) if value.isdigit() else another(value, proper_names())


def stranger(attempt: Attempt) -> str:
    """The name of a thing that the task isn't about."""
    said = {attempt.fact.name, *re.findall(r"\w+", f"{attempt.task.query} {attempt.answer}")}
    return next(name for name in proper_names() if name not in said)


def other_fact(attempt: Attempt) -> str:
    """The word of an attribute that isn't asked."""
    asked = {fact.attribute.name for fact in attempt.task.asked}
    return next(word for word, name in attempt.world.words.items() if name not in asked)


def swapped(attempt: Attempt) -> Attempt | None:
    values = [str(attempt.world.table.value(fact)) for fact in attempt.task.asked]
    if len(set(values)) < 2:
        return None
    marked = attempt.answer
    for number, value in enumerate(values):
        marked = re.sub(rf"\b{value}\b", f"<{number}>", marked)
    return replace(attempt, answer=marked.replace("<0>", values[1]).replace("<1>", values[0]))


def elsewhere(attempt: Attempt) -> Attempt | None:
    """Its last call made for another moment, if there are moments."""
    moment = attempt.fact.attribute.moment
    return attempt.tells(moment=another(moment, MOMENTS)) if moment else None


def other_unit(attempt: Attempt) -> str:
    return another(attempt.fact.attribute.unit, BY_NAME[attempt.fact.attribute.name].unit_names)


def all_values(attempt: Attempt) -> str:
    return " ".join(str(attempt.world.table.value(fact)) for fact in attempt.task.asked)


Mutation = Callable[[Attempt], Attempt | None]
"""The attempt with one thing wrong; None where it can't be."""
MUTATIONS: dict[str, Mutation] = {
    "nothing was called": lambda it: replace(it, told=frozenset()),
    "the last fact was not told": lambda it: replace(it, told=it.told - {it.fact}),
    "told of another thing": lambda it: it.tells(name=another(it.fact.name, proper_names())),
    "told of another kind of thing": lambda it: it.tells(thing="moon"),
    "told for another moment": elsewhere,
    "told in another unit": lambda it: it.tells(unit=other_unit(it)) if it.fact.attribute.unit else None,
    "nothing is answered": lambda it: replace(it, answer=""),
    "the query is answered": lambda it: replace(it, answer=it.task.query),
    "the value is missing": lambda it: it.says(it.value, "found"),
    "another value": lambda it: it.says(it.value, other_value(it)),
    "another value beside it": lambda it: it.says(it.value, f"{it.value} and {other_value(it)}"),
    "an alternative": lambda it: it.says(it.value, f"{it.value} or more"),
    "a denial": lambda it: it.says("is", "is not"),
    "a contraction": lambda it: it.says("is", "isn't"),
    "a doubt": lambda it: replace(it, answer=f"Maybe {it.answer}"),
    "a decimal": lambda it: it.says(it.value, f"{it.value}.5"),
    "a longer word": lambda it: it.says(it.value, f"{it.value}0"),
    "a negative": lambda it: it.says(it.value, f"-{it.value}"),
    "a hyphen": lambda it: it.says(it.value, f"{it.value}-{it.value}"),
    "other letters": lambda it: None if it.value.isdigit() else it.says(it.value, it.value.lower()),
    "the value of another attribute": lambda it: it.says(it.word, other_fact(it)),
    "another attribute's value too": lambda it: replace(it, answer=f"{it.answer} Its {other_fact(it)} is 77."),
    "values swapped": swapped,
    "the last of several left out": lambda it: (
        replace(it, answer=it.answer.rpartition(" and ")[0]) if len(it.task.asked) > 1 else None
    ),
    "all values first": lambda it: replace(it, answer=all_values(it)) if len(it.task.asked) > 1 else None,
    "another thing named": lambda it: replace(it, answer=f"{it.answer} So it is for {stranger(it)}."),
    "another id named": lambda it: replace(it, answer=f"{it.answer} Its id is X77."),
    "another moment named": lambda it: (
        it.says(f"{it.fact.attribute.moment} {it.word}", f"{another(it.fact.attribute.moment, MOMENTS)} {it.word}")
        if it.fact.attribute.moment
        else None
    ),
    "another unit named": lambda it: (
        it.says(it.fact.attribute.unit, other_unit(it)) if it.fact.attribute.unit else None
    ),
    "two units named": lambda it: it.says(it.value, f"{it.value} {other_unit(it)}") if it.fact.attribute.unit else None,
}


def attempts(difficulty: Difficulty) -> list[Attempt]:
    """The recorded solutions of all splits."""
    world, splits = drawn(difficulty)
    found = []
    for task in (task for tasks in splits.values() for task in tasks):
        told = (execute(world, call.api.function, json.dumps(call.arguments)).facts for call in task.calls)
        found.append(Attempt(world, task, frozenset(fact for facts in told for fact in facts), task.answer))
    return found


def solved(attempt: Attempt) -> bool:
    task = attempt.task
    return solves(attempt.world, task.query, task.asked, attempt.told, attempt.answer)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_every_recorded_solution_solves_and_no_near_miss_does(difficulty: Difficulty):
    made = dict.fromkeys(MUTATIONS, 0)
    for number, attempt in enumerate(attempts(difficulty)):
        assert solved(attempt), attempt.task
        for name, mutate in MUTATIONS.items():
            missed = mutate(attempt) if number % 4 == 0 else None
            if missed is not None and missed != attempt:
                made[name] += 1
                assert not solved(missed), (name, missed.answer, missed.told)
    only_full = {name for name in MUTATIONS if "moment" in name or "unit" in name}
    assert {name for name, count in made.items() if not count} == (set() if difficulty == "full" else only_full)


SAYINGS = (
    "{value}",
    "The {word} is {value}.",
    "For {name} I found a {word} of {value}, as you asked.",
    "{value}: that is it!",
    "It's {value} {unit}",
)


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_other_sentences_say_the_same(difficulty: Difficulty, saying: str):
    alone = [attempt for attempt in attempts(difficulty) if len(attempt.task.asked) == 1]
    for attempt in alone[:200]:
        fact = attempt.fact
        words = [word for word, name in attempt.world.words.items() if name == fact.attribute.name]
        answer = saying.format(value=attempt.value, word=words[-1], name=fact.name, unit=fact.attribute.unit)
        assert solved(replace(attempt, answer=answer)), (answer, attempt.task)
