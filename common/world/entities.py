"""The things that a world knows and what is true of them: one table, from which every call is answered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Value = str | int


class Attribute(NamedTuple):
    """What one may ask about a thing: its price, or its former weight in pounds."""

    name: str
    moment: str = ""
    unit: str = ""


ID = Attribute("id")
"""Told by a search, which is given a name."""


class Fact(NamedTuple):
    """An attribute of one thing, such as the price of the stock Kun."""

    thing: str
    name: str
    attribute: Attribute


@dataclass(frozen=True)
class Entity:
    """One thing, such as the stock Kun, with the values of all its attributes.

    An API that is asked for an attribute reports more where `reports` says so, in that order.
    """

    name: str
    id: str
    values: Mapping[Attribute, Value]
    reports: Mapping[Attribute, tuple[Attribute, ...]] = field(default_factory=dict)


class Table:
    """Entities by what they are, and by name or id."""

    def __init__(self, entities: Mapping[str, Iterable[Entity]]) -> None:
        self._known = {
            thing: {key: each for each in group for key in (each.name, each.id)} for thing, group in entities.items()
        }

    def find(self, thing: str, key: str) -> Entity | None:
        """The `thing` with the name or id `key`."""
        return self._known[thing].get(key)

    def value(self, fact: Fact) -> Value:
        """Raises KeyError where there is no such thing."""
        return self._known[fact.thing][fact.name].values[fact.attribute]

    def handles(self, fact: Fact) -> tuple[str, str]:
        """The name and the id of the thing that the fact is about. Raises KeyError where there is no such thing."""
        return fact.name, self._known[fact.thing][fact.name].id
