"""What calls bring, as text: what an API tells of a thing, or an error in ToolBench's words."""

import json
from collections.abc import Mapping

from common.toolbench.status import Status
from common.world.catalogue import Api
from common.world.entities import Attribute, Entity, Value

UNIT = "unit"
"""The parameter that says in which unit an API answers."""
FAILURES = {
    Status.TIMEOUT: "Timeout error...",
    Status.UNSUBSCRIBED: "Unsubscribed error...",
    Status.UNAUTHORISED: "Unauthorized error...",
    Status.TOO_MANY_REQUESTS: "Too many requests error...",
    Status.RATE_LIMITED: "Rate limit per minute error...",
    Status.ERROR_IN_MESSAGE: "Message error...",
    Status.SENDING_FAILED: "request invalid, data error",
}
"""How an API that doesn't work answers every call."""


def attributes_told(api: Api, entity: Entity, arguments: Mapping[str, Value]) -> tuple[Attribute, ...]:
    """Return what `api` tells of `entity` when it is called with `arguments`."""
    attribute = api.attribute
    if UNIT in arguments:
        attribute = attribute._replace(unit=str(arguments[UNIT]))
    return entity.reports.get(attribute, (attribute,))


def response(api: Api, entity: Entity, arguments: Mapping[str, Value]) -> dict[str, Value]:
    """Return what `api` says of `entity` when it is called with `arguments`: what it was asked about, then values."""
    told = {api.key or each.name: entity.values[each] for each in attributes_told(api, entity, arguments)}
    return {api.subject: arguments[api.subject], **told}


def success(response: Mapping[str, Value]) -> str:
    """Return what a prompt shows of a response."""
    return json.dumps({"error": "", "response": str(response)})


def failure(error: str) -> str:
    """Return what a prompt shows of a call that told nothing."""
    return json.dumps({"error": error, "response": ""})
