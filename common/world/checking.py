"""Whether an episode solved its task: from what was asked, what its calls told, and what its final answer says.

A value counts only where a call told it: the right word by luck, or for another reason, is no solution.
"""

import re
from collections.abc import Iterator, Sequence, Set

from common.world.entities import Entity, Fact
from common.world.names import proper_names
from common.world.world import World

_WORD = re.compile(r"-?[^\W_]+(?:[.,:/'’-][^\W_]+)*")
_VALUE = re.compile(r"-?\d.*|[A-Z]\d+")
_NAMES = frozenset(proper_names())
_DOUBT = frozenset(
    ("no", "not", "none", "neither", "nor", "or", "either", "if", "maybe", "perhaps", "unknown", "unless")
)


def solves(world: World, asked: Sequence[Fact], told: Set[Fact], answer: str) -> bool:
    """Whether `answer` gives the values of all facts that were `asked`, all of which calls have `told`, and no others.

    Each value stands as a word of its own. Where several facts are asked, each value stands behind its fact's word. Any
    other value, another thing's name among them, and any word of doubt or denial make the answer wrong.
    """
    if not set(asked) <= told:
        return False
    entities = {fact: _entity(world, fact) for fact in asked}
    expected = {(fact.attribute, str(entity.values[fact.attribute])) for fact, entity in entities.items()}
    handles = {handle for entity in entities.values() for handle in (entity.name, entity.id)}
    words = [word for word in _WORD.findall(answer) if word not in handles]
    if any(word.lower() in _DOUBT or word.lower().endswith(("n't", "n’t")) for word in words):
        return False
    alone = asked[0].attribute if len(asked) == 1 else None
    return set(_statements(words, set(world.table.attributes), alone)) == expected


def _entity(world: World, fact: Fact) -> Entity:
    entity = world.table.find(fact.thing, fact.name)
    if entity is None:
        raise KeyError(f"the world holds no {fact.thing} {fact.name}")
    return entity


def _statements(words: Sequence[str], attributes: Set[str], attribute: str | None) -> Iterator[tuple[str | None, str]]:
    """Every value among `words` with the attribute that was named last before it; at first that is `attribute`."""
    for word in words:
        if word.lower() in attributes:
            attribute = word.lower()
        elif word in _NAMES or _VALUE.fullmatch(word):
            yield attribute, word
