"""Whom a query is about: a thing that it names, or the part of one, and the calls that find its id."""

from dataclasses import dataclass
from random import Random

from common.world.catalogue import Api, Parameter, Tool
from common.world.coded import thoughts
from common.world.entities import Entity, Table, Value
from common.world.names import proper_name
from common.world.phrasing import Wording
from common.world.responses import FAILURES, UNIT, response
from common.world.tasks import Call


@dataclass(frozen=True)
class Subject:
    """What facts are asked of, how a query calls it, and what its APIs know it by once `calls` are made."""

    thing: str
    entity: Entity
    said: str
    key: str
    calls: tuple[Call, ...]


def draw_subject(rng: Random, tool: Tool, table: Table) -> Subject:
    """Draw a thing that `tool` knows, or half the time the part of one where the tool can find that."""
    entity = _find(table, tool.thing, proper_name(rng))
    named = tool.search is None or rng.random() < 0.6
    key = entity.id if tool.search else entity.name
    said = f"the {tool.thing} {entity.name if named else entity.id}"
    calls: tuple[Call, ...] = ()
    if tool.search and named:
        thought = thoughts.on_search(rng, entity.name)
        calls = (call(thought, tool.search, entity, entity.name),)
    subject = Subject(tool.thing, entity, said, key, calls)
    links = [api for api in tool.apis if not api.word]
    return _part(rng, subject, links[0], table) if links and rng.random() < 0.5 else subject


def _part(rng: Random, whole: Subject, link: Api, table: Table) -> Subject:
    """The part of `whole`, which `link` finds."""
    thought = thoughts.on_part(rng, link.attribute.name)
    found = call(thought, link, whole.entity, whole.key)
    part = _find(table, link.attribute.name, str(whole.entity.values[link.attribute]))
    said = f"the {link.attribute.name} of {whole.said}"
    return Subject(link.attribute.name, part, said, part.id, (*whole.calls, found))


def call(thought: Wording, api: Api, entity: Entity, key: str, said: str = "", unit: str = "") -> Call:
    """A call of `api` about `entity`, known to it as `key`, with whatever else it requires."""
    arguments: dict[str, Value] = {api.subject: api.required[0].prefix + key}
    for parameter in api.required[1:]:
        arguments[parameter.name] = _example(parameter)
    if UNIT in api.parameters:
        arguments[UNIT] = unit
    told = {} if api.status in FAILURES else response(api, entity, arguments)
    return Call(thought.text, api, arguments, told, said, thought.nats)


def _example(parameter: Parameter) -> Value:
    if parameter.kind == "BOOLEAN":
        return parameter.example == "true"
    return int(parameter.example) if parameter.kind == "NUMBER" else parameter.example


def _find(table: Table, thing: str, key: str) -> Entity:
    entity = table.find(thing, key)
    assert entity is not None, "things are drawn from the table"
    return entity
