"""Calls answered: any call of any API gets the same answer each time, with ToolBench's status codes."""

from typing import Any, NamedTuple

from common.toolbench.finish import NAME, finish
from common.toolbench.status import Status
from common.world.arguments import SHOWN, BadArguments, read_arguments
from common.world.catalogue import Api
from common.world.entities import Entity, Fact
from common.world.responses import FAILURES, attributes_told, failure, response, success
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
        return Response(failure(str(error)), Status.BAD_INPUT)
    if api.status in FAILURES:
        return Response(failure(FAILURES[api.status]), api.status)
    entity = _find(world, api, given[api.subject])
    if entity is None:
        return Response(failure(f"There is no {api.thing} {given[api.subject][:SHOWN]!r}"), Status.NOT_FOUND)
    return _tell(api, entity, given)


def no_such_function(name: str) -> Response:
    """The answer to a call of what doesn't exist."""
    return Response(failure(f"No such function name: {name[:SHOWN]}"), Status.NO_SUCH_FUNCTION)


def _find(world: World, api: Api, given: str) -> Entity | None:
    """The thing that is meant, where it is called as `api` wants it, by name or by id."""
    key = given.removeprefix(api.required[0].prefix)
    entity = world.table.find(api.thing, key)
    return entity if entity is not None and key == (entity.id if api.by_id else entity.name) else None


def _tell(api: Api, entity: Entity, given: dict[str, Any]) -> Response:
    facts = tuple(Fact(api.thing, entity.name, each) for each in attributes_told(api, entity, given))
    return Response(success(response(api, entity, given)), Status.OK, facts)
