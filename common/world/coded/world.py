"""The worlds whose names give nothing away, from settings."""

from functools import partial
from random import Random

from common.world.coded.domains import DOMAINS, HELD_OUT_DOMAINS
from common.world.coded.facts import draw_table
from common.world.coded.tasks import tasks
from common.world.coded.tools import build_catalogue
from common.world.coded.words import MOMENTS, NAME_OF, UNITS
from common.world.settings import WorldSettings
from common.world.world import World


def coded_world(settings: WorldSettings) -> World:
    """Draw the world of `settings`."""
    full = settings.difficulty == "full"
    table = draw_table(Random(f"{settings.seed} entities"), DOMAINS + HELD_OUT_DOMAINS, full)
    other_words = 0 if settings.difficulty == "described" else settings.other_words
    return World(
        build_catalogue(settings, full),
        table,
        partial(tasks, table=table, other_words=other_words, offered=settings.offered),
        NAME_OF,
        frozenset(MOMENTS),
        UNITS,
    )
