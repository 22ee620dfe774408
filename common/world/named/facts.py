"""What is true of things: drawn once for a world, or made up for a document."""

from random import Random
from typing import Protocol

from common.world.entities import ID, Attribute, Entity, Table, Value
from common.world.named.domains import DOMAINS, HELD_OUT_DOMAINS, Domain, facts_of
from common.world.names import identifier, identifiers, proper_name, proper_names


class Facts(Protocol):
    """What tasks are drawn about."""

    def subject(self, rng: Random, thing: str, by_id: bool) -> tuple[str, str]:
        """Draw a thing: its name, and what a user calls it, which is its id or its name."""

    def id_of(self, rng: Random, thing: str, name: str) -> str:
        """The id of the thing with that name."""

    def report(self, rng: Random, thing: str, subject: str, fact: str) -> dict[str, Value]:
        """What an API that is asked for `fact` tells about the thing with that name or id."""


class Known:
    """The facts of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def subject(self, rng: Random, thing: str, by_id: bool) -> tuple[str, str]:
        """As `Facts.subject`."""
        entity = self._find(thing, proper_name(rng))
        return entity.name, entity.id if by_id else entity.name

    def id_of(self, rng: Random, thing: str, name: str) -> str:
        """As `Facts.id_of`."""
        return self._find(thing, name).id

    def report(self, rng: Random, thing: str, subject: str, fact: str) -> dict[str, Value]:
        """As `Facts.report`."""
        entity = self._find(thing, subject)
        return {each.name: entity.values[each] for each in entity.reports[Attribute(fact)]}

    def _find(self, thing: str, key: str) -> Entity:
        entity = self._table.find(thing, key)
        assert entity is not None, "things are drawn from the table"
        return entity


class Inventions:
    """Facts that are made up whenever one asks: what documents are written about, which answer no calls."""

    def subject(self, rng: Random, thing: str, by_id: bool) -> tuple[str, str]:
        """As `Facts.subject`; the name of a thing that is called by its id never comes up."""
        name = identifier(rng) if by_id else proper_name(rng)
        return name, name

    def id_of(self, rng: Random, thing: str, name: str) -> str:
        """As `Facts.id_of`."""
        return identifier(rng)

    def report(self, rng: Random, thing: str, subject: str, fact: str) -> dict[str, Value]:
        """As `Facts.report`."""
        return {each: _value(rng) for each in _report(rng, facts_of(thing), fact)}


def draw_table(seed: int) -> Table:
    """Draw all that is true in a world."""
    rng = Random(f"{seed} entities")
    return Table({domain.thing: _entities(rng, domain) for domain in DOMAINS + HELD_OUT_DOMAINS})


def _entities(rng: Random, domain: Domain) -> list[Entity]:
    ids = identifiers(rng, len(proper_names()))
    return [_entity(rng, domain.facts, name, id) for name, id in zip(proper_names(), ids, strict=True)]


def _entity(rng: Random, facts: tuple[str, ...], name: str, id: str) -> Entity:
    values = {Attribute(fact): _other_than(rng, name) for fact in facts}
    reports = {Attribute(fact): tuple(map(Attribute, _report(rng, facts, fact))) for fact in facts}
    return Entity(name, id, {ID: id, **values}, reports)


def _other_than(rng: Random, name: str) -> Value:
    """A value that no answer confuses with the thing's own name."""
    value = _value(rng)
    return value if value != name else _other_than(rng, name)


def _value(rng: Random) -> Value:
    return rng.randint(2, 9) if rng.random() < 0.3 else proper_name(rng)


def _report(rng: Random, facts: tuple[str, ...], fact: str) -> list[str]:
    others = [each for each in facts if each != fact]
    told = [fact, *rng.sample(others, rng.choice((0, 0, 1)))]
    rng.shuffle(told)
    return told
