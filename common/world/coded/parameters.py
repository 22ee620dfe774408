"""Parameters of coded worlds: in `full` their types, formats and enumerations vary, and what is required."""

from random import Random

from common.world.catalogue import Parameter
from common.world.names import identifier, proper_name
from common.world.responses import UNIT

_EXTRA = (
    Parameter("limit", "NUMBER", "Most results to give", "5"),
    Parameter("brief", "BOOLEAN", "Whether to be brief, true or false", "true"),
    Parameter("language", "STRING", "Language, en or de", "en", ("en", "de")),
)
_PAGE = Parameter("page", "NUMBER", "Page of the results", "1")
_PREFIX = "#"


def subject(rng: Random, thing: str, by_id: bool, full: bool) -> Parameter:
    """Says which thing is meant, by its name or its id; in `full` some ids are wanted behind a #."""
    if not by_id:
        return Parameter(thing, "STRING", f"Name of the {thing}", proper_name(rng))
    if full and rng.random() < 0.3:
        description = f"Id of the {thing}, behind a {_PREFIX}"
        return Parameter(f"{thing}_id", "STRING", description, _PREFIX + identifier(rng), prefix=_PREFIX)
    return Parameter(f"{thing}_id", "STRING", f"Id of the {thing}", identifier(rng))


def unit(names: tuple[str, ...], default: str) -> Parameter:
    """Says in which unit to answer; `default` holds where it isn't given."""
    return Parameter(UNIT, "STRING", f"Unit, {' or '.join(names)}; else {default}", default, names)


def extra(rng: Random, full: bool) -> list[tuple[Parameter, bool]]:
    """Parameters that change nothing, each with whether it is required: few, and in `full` of several types."""
    if full:
        return [(rng.choice(_EXTRA), rng.random() < 0.6)] if rng.random() < 0.5 else []
    return [(_PAGE, False)] if rng.random() < 0.2 else []
