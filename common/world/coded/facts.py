"""What is true of the things of a coded world."""

from collections.abc import Iterator
from random import Random

from common.world.coded.domains import Domain, attributes_of
from common.world.coded.words import MOMENTS, Meaning
from common.world.entities import ID, Attribute, Entity, Table, Value
from common.world.names import identifiers, proper_name, proper_names


def draw_table(rng: Random, domains: tuple[Domain, ...], full: bool) -> Table:
    """Draw every thing of `domains`, its part, and their attributes; in `full`, for two moments and in all units."""
    entities = {}
    for domain in domains:
        parts = [Entity(name, id, values) for name, id, values in _draw_things(rng, domain.part, full)]
        entities[domain.part] = parts
        entities[domain.thing] = [
            Entity(name, id, values | {Attribute(domain.part): rng.choice(parts).id})
            for name, id, values in _draw_things(rng, domain.thing, full)
        ]
    return Table(entities)


def _draw_things(rng: Random, thing: str, full: bool) -> Iterator[tuple[str, str, dict[Attribute, Value]]]:
    """Name, id and values of each."""
    for name, id in zip(proper_names(), identifiers(rng, len(proper_names())), strict=True):
        values: dict[Attribute, Value] = {ID: id}
        for meaning in attributes_of(thing):
            values |= _moments(rng, meaning, name) if full else {Attribute(meaning.name): _value(rng, meaning, {name})}
        yield name, id, values


def _moments(rng: Random, meaning: Meaning, name: str) -> dict[Attribute, Value]:
    """The attribute's values, at each moment another."""
    values: dict[Attribute, Value] = {}
    known: set[Value] = {name}
    for moment in MOMENTS:
        value = _value(rng, meaning, known)
        known.add(value)
        values |= {Attribute(meaning.name, moment, unit): _times(value, factor) for unit, factor in meaning.units} or {
            Attribute(meaning.name, moment): value
        }
    return values


def _times(value: Value, factor: int) -> Value:
    return value * factor if isinstance(value, int) else value


def _value(rng: Random, meaning: Meaning, known: set[Value]) -> Value:
    """A small number or a name that isn't `known`."""
    value: Value = rng.randint(2, 9) if meaning.number else proper_name(rng)
    return _value(rng, meaning, known) if value in known else value
