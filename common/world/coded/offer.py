"""Which APIs a coded task offers: those of its solution, and others that don't tell what is asked."""

from collections.abc import Collection, Sequence
from random import Random

from common.world.catalogue import Api, Tool
from common.world.entities import Attribute
from common.world.responses import UNIT

SIBLINGS = 3
"""Tools of the same category that may stand beside the one that the task is about."""


def offer(
    rng: Random,
    tool: Tool,
    siblings: Sequence[Tool],
    called: Collection[Api],
    thing: str,
    asked: Sequence[Attribute],
    count: int,
) -> tuple[Api, ...]:
    """Draw the APIs on offer, in random order: those `called` and others, of which none tells what is `asked`.

    `count` of all tell an attribute; beside them may stand some that find ids.

    As far as there are any, the others are twins of those called, then of the same tool but one, and all can be asked
    about the same `thing` in the same way, so that neither an API's tool nor its parameters give it away.
    """
    others = rng.sample(siblings, min(SIBLINGS, len(siblings)))
    spare = [
        api
        for each in (tool, *others)
        for api in each.apis
        if api.word and api not in called and not any(tells(api, thing, attribute) for attribute in asked)
    ]
    rng.shuffle(spare)
    ways = {(api.thing, api.by_id) for api in called if api.word}
    alike = [api for api in spare if (api.thing, api.by_id) in ways]
    names = {attribute.name for attribute in asked}
    own = sorted((api for api in alike if api.tool == tool.name), key=lambda api: api.attribute.name not in names)
    places = max(1, count - sum(bool(api.word) for api in called))
    foreign, unlike = [api for api in alike if api.tool != tool.name], [api for api in spare if api not in alike]
    ordered = [*own[: places - 1], *foreign, *own[places - 1 :], *unlike]
    distractors = _apart(ordered, {api.name for api in called}, places)
    finders = [api for api in tool.all_apis if not api.word and api not in called and rng.random() < 0.5]
    finders = _apart(finders, {api.name for api in (*called, *distractors)}, len(finders))
    apis = [*called, *distractors, *finders]
    rng.shuffle(apis)
    return tuple(apis)


def _apart(apis: Sequence[Api], taken: set[str], most: int) -> list[Api]:
    """Take the first `most` whose codes are not `taken` and differ from each other."""
    apart = {api.name: api for api in reversed(apis) if api.name not in taken}
    return [api for api in apis if apart.get(api.name) is api][:most]


def tells(api: Api, thing: str, attribute: Attribute) -> bool:
    """Whether `api` can tell the `attribute` of a `thing`, in its unit."""
    if (api.thing, api.attribute.name, api.attribute.moment) != (thing, attribute.name, attribute.moment):
        return False
    chosen = api.parameters.get(UNIT)
    return attribute.unit == api.attribute.unit or (chosen is not None and attribute.unit in chosen.choices)
