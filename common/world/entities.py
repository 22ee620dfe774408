"""The things that a world knows and what is true of them: one table, from which every call is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from common.world.domains import Domain
from common.world.names import identifier, identifiers, proper_name, proper_names

Value = str | int


class Fact(NamedTuple):
    """Something that is true of a thing, such as the price of the stock Kun; its value stands in the table."""

    thing: str
    name: str
    attribute: str


@dataclass(frozen=True)
class Entity:
    """One thing, such as the stock Kun. `reports` says what an API that is asked for a fact tells, in this order."""

    name: str
    id: str
    values: Mapping[str, Value]
    reports: Mapping[str, tuple[str, ...]]


class Facts(Protocol):
    """What tasks are drawn about."""

    def subject(self, rng: Random, domain: Domain, by_id: bool) -> tuple[str, str]:
        """Draw a thing: its name, and what a user calls it, which is its id or its name."""

    def id_of(self, rng: Random, domain: Domain, name: str) -> str:
        """The id of the thing with that name."""

    def report(self, rng: Random, domain: Domain, subject: str, fact: str) -> dict[str, Value]:
        """What an API that is asked for `fact` tells about the thing with that name or id."""


class Table:
    """The things of a whole world, by category, name and id. The same seed draws the same table."""

    def __init__(self, seed: int, domains: tuple[Domain, ...]) -> None:
        rng = Random(f"{seed} entities")
        self.attributes = frozenset(fact for domain in domains for fact in domain.facts)
        self._known: dict[str, dict[str, Entity]] = {}
        for domain in domains:
            ids = identifiers(rng, len(proper_names()))
            entities = [_draw_entity(rng, domain, name, id) for name, id in zip(proper_names(), ids, strict=True)]
            self._known[domain.thing] = {key: each for each in entities for key in (each.name, each.id)}

    def find(self, thing: str, key: str) -> Entity | None:
        """The `thing` with the name or id `key`."""
        return self._known[thing].get(key)

    def subject(self, rng: Random, domain: Domain, by_id: bool) -> tuple[str, str]:
        """As `Facts.subject`."""
        entity = self._known[domain.thing][rng.choice(proper_names())]
        return entity.name, entity.id if by_id else entity.name

    def id_of(self, rng: Random, domain: Domain, name: str) -> str:
        """As `Facts.id_of`."""
        return self._known[domain.thing][name].id

    def report(self, rng: Random, domain: Domain, subject: str, fact: str) -> dict[str, Value]:
        """As `Facts.report`."""
        entity = self._known[domain.thing][subject]
        return {each: entity.values[each] for each in entity.reports[fact]}


class Inventions:
    """Facts that are made up whenever one asks: what documents are written about, which answer no calls."""

    def subject(self, rng: Random, domain: Domain, by_id: bool) -> tuple[str, str]:
        """As `Facts.subject`; the name of a thing that is called by its id never comes up."""
        name = identifier(rng) if by_id else proper_name(rng)
        return name, name

    def id_of(self, rng: Random, domain: Domain, name: str) -> str:
        """As `Facts.id_of`."""
        return identifier(rng)

    def report(self, rng: Random, domain: Domain, subject: str, fact: str) -> dict[str, Value]:
        """As `Facts.report`."""
        return {each: draw_value(rng) for each in _draw_report(rng, domain, fact)}


def draw_value(rng: Random) -> Value:
    """A small number or a name."""
    return rng.randint(2, 9) if rng.random() < 0.3 else proper_name(rng)


def _draw_entity(rng: Random, domain: Domain, name: str, id: str) -> Entity:
    reports = {fact: _draw_report(rng, domain, fact) for fact in domain.facts}
    return Entity(name, id, {fact: _other_than(rng, name) for fact in domain.facts}, reports)


def _other_than(rng: Random, name: str) -> Value:
    """A value that no answer confuses with the thing's own name."""
    value = draw_value(rng)
    return value if value != name else _other_than(rng, name)


def _draw_report(rng: Random, domain: Domain, fact: str) -> tuple[str, ...]:
    others = [each for each in domain.facts if each != fact]
    facts = [fact, *rng.sample(others, rng.choice((0, 0, 1)))]
    rng.shuffle(facts)
    return tuple(facts)
