"""From settings to the world that is a function of them."""

from functools import lru_cache

from common.world.coded.world import coded_world
from common.world.named.world import named_world
from common.world.settings import WorldSettings
from common.world.world import World


@lru_cache(maxsize=4)
def make_world(settings: WorldSettings) -> World:
    """Return the world of `settings`; the same object for the same settings."""
    return named_world(settings) if settings.difficulty == "named" else coded_world(settings)
