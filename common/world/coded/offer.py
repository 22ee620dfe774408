"""Which APIs a coded task offers: those of its solution, and others that don't tell what is asked."""

from collections.abc import Collection, Sequence
from random import Random

from common.world.catalogue import Api, Tool
from common.world.entities import Attribute
from common.world.responses import UNIT

TELLING = 5
"""APIs on offer that tell an attribute; beside them may stand some that find ids."""


def offer(
    rng: Random, tool: Tool, siblings: Sequence[Tool], called: Collection[Api], thing: str, asked: Sequence[Attribute]
) -> tuple[Api, ...]:
    """Draw the APIs on offer, in random order: those `called`, their twins first of all, others of the same tool, and
    some of its siblings. None that isn't called tells what is `asked` of a `thing`."""
    names = {attribute.name for attribute in asked}
    others = [*siblings] if len(siblings) < 2 else rng.sample(siblings, 2)
    spare = [
        api
        for each in (tool, *others)
        for api in each.apis
        if api.word and api not in called and not any(tells(api, thing, attribute) for attribute in asked)
    ]
    twins = [api for api in spare if api.tool == tool.name and api.thing == thing and api.attribute.name in names]
    rest = [api for api in spare if api not in twins]
    places = TELLING - sum(bool(api.word) for api in called)
    distractors = twins[:places]
    distractors += rng.sample(rest, min(len(rest), places - len(distractors)))
    finders = [api for api in tool.all_apis if not api.word and api not in called and rng.random() < 0.5]
    apis = [*called, *distractors, *finders]
    rng.shuffle(apis)
    return tuple(apis)


def tells(api: Api, thing: str, attribute: Attribute) -> bool:
    """Whether `api` can tell the `attribute` of a `thing`, in its unit."""
    if api.thing != thing or api.attribute._replace(unit="") != attribute._replace(unit=""):
        return False
    chosen = api.parameters.get(UNIT)
    return attribute.unit == api.attribute.unit or (chosen is not None and attribute.unit in chosen.choices)
