"""A world: its tools and the table that answers their calls, both a function of its settings."""

from dataclasses import dataclass
from functools import lru_cache

from common.world.domains import DOMAINS, HELD_OUT_DOMAINS
from common.world.entities import Table
from common.world.settings import WorldSettings
from common.world.tools import Api, Catalogue, build_catalogue


@dataclass(frozen=True)
class World:
    """What answers calls. `functions` are all APIs by the names under which prompts offer them."""

    settings: WorldSettings
    catalogue: Catalogue
    table: Table
    functions: dict[str, Api]


@lru_cache(maxsize=4)
def make_world(settings: WorldSettings) -> World:
    """Return the world of `settings`; the same object for the same settings."""
    catalogue = build_catalogue(settings)
    functions = {api.function: api for api in catalogue.apis}
    return World(settings, catalogue, Table(settings.seed, DOMAINS + HELD_OUT_DOMAINS), functions)
