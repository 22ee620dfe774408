"""Whether an episode solved its task: from what was asked, what its calls told, and what its final answer says.

A value counts only where a call told it: the right word by luck, or for another reason, is no solution.
"""

import re
from collections.abc import Iterator, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from common.world.entities import Fact
from common.world.names import proper_names
from common.world.world import World

_WORD = re.compile(r"-?[^\W_]+(?:[.,:/'’-][^\W_]+)*")
_VALUE = re.compile(r"-?\d.*|[A-Z]\d+")
_NAMES = frozenset(proper_names())
_DOUBT = frozenset(
    ("no", "not", "none", "neither", "nor", "or", "either", "if", "maybe", "perhaps", "unknown", "unless", "cannot")
)
_BEFORE_VALUES = frozenset(("is", "are", "was", "be", "and"))
"""Words behind which even the name or id of what a query is about is said to be a value."""


class Statement(NamedTuple):
    """A value that an answer gives, and for what: the attribute, moment and unit that it names, where it does."""

    value: str
    name: str
    moment: str
    unit: str

    def may_mean(self, fact: Fact) -> bool:
        """Whether nothing that is said of the value is said of another fact than this."""
        said = (self.name, self.moment, self.unit)
        return all(mine in ("", its) for mine, its in zip(said, fact.attribute, strict=True))


def solves(world: World, query: str, asked: Sequence[Fact], told: Set[Fact], answer: str) -> bool:
    """Whether `answer` gives the values of all facts that `query` asked, all of which calls have told, and no others.

    Each value stands as a word of its own, behind the word for its attribute; where one fact alone is asked, that word
    may be missing. A unit may stand on either side. Any other value, another thing's name or id among them, and any
    word of doubt or denial make the answer wrong.
    """
    if not set(asked) <= told:
        return False
    words = _WORD.findall(answer)
    if any(word.lower() in _DOUBT or word.lower().endswith(("n't", "n’t")) for word in words):
        return False
    known = {*_WORD.findall(query), *(handle for fact in asked for handle in world.table.handles(fact))}
    given = set()
    for statement in _statements(world, words, known):
        meant = [fact for fact in asked if statement.may_mean(fact)]
        if len(meant) != 1 or str(world.table.value(meant[0])) != statement.value:
            return False
        given.add(meant[0])
    return given == set(asked)


def _statements(world: World, words: Sequence[str], known: Set[str]) -> Iterator[Statement]:
    """Every value among `words`, with what was last said before it, and its unit; `known` names and ids are none."""
    name = moment = unit = before = ""
    for word, after in pairwise((*words, "")):
        lower = word.lower()
        if lower in world.words:
            name, moment, unit = world.words[lower], moment if before in world.moments else "", ""
        elif lower in world.moments:
            moment = lower
        elif lower in world.units:
            unit = lower
        elif (word in _NAMES or _VALUE.fullmatch(word)) and (word not in known or before in _BEFORE_VALUES):
            units = {unit, after.lower() if after.lower() in world.units else unit}
            yield Statement(word, name, moment, " ".join(sorted(units)).strip())
        before = lower
