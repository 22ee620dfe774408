"""Calls answered: any call of any API gets the same answer each time, with ToolBench's status codes."""

import json
from typing import NamedTuple

from common.toolbench.finish import NAME, finish
from common.toolbench.status import Status
from common.world.arguments import SHOWN, BadArguments, read_arguments
from common.world.entities import Entity, Fact, Value
from common.world.tools import SEARCH, Api
from common.world.traces import observation
from common.world.world import World


class Response(NamedTuple):
    """What a call brings: the observation's text, its status, and the facts that it tells."""

    text: str
    status: Status
    facts: tuple[Fact, ...] = ()


def execute(world: World, name: str, arguments: str) -> Response:
    """Call the function `name` with `arguments`, JSON text as written. Whatever they are, there is an answer."""
    if name == NAME:
        text, status, _ = finish(arguments)
        return Response(text, status)
    api = world.functions.get(name)
    if api is None:
        return no_such_function(name)
    try:
        given = read_arguments(api, arguments)
    except BadArguments as error:
        return _failure(str(error), Status.BAD_INPUT)
    key = given[api.subject]
    entity = world.table.find(api.thing, key)
    if entity is None or key != (entity.id if api.by_id else entity.name):
        return _failure(f"There is no {api.thing} {key[:SHOWN]!r}", Status.NOT_FOUND)
    return _tell(api, entity, key)


def no_such_function(name: str) -> Response:
    """The answer to a call of what doesn't exist."""
    return _failure(f"No such function name: {name[:SHOWN]}", Status.NO_SUCH_FUNCTION)


def _failure(error: str, status: Status) -> Response:
    return Response(json.dumps({"error": error, "response": ""}), status)


def _tell(api: Api, entity: Entity, key: str) -> Response:
    told: dict[str, Value] = {SEARCH: entity.id}
    if api.fact != SEARCH:
        told = {each: entity.values[each] for each in entity.reports[api.fact]}
    facts = tuple(Fact(api.thing, entity.name, each) for each in told)
    about: dict[str, Value] = {api.subject: key}
    return Response(observation(about | told), Status.OK, facts)
