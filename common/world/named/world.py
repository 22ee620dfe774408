"""The world whose names say what they are for: an API that tells the price is called `get_price`."""

from collections.abc import Iterator, Sequence
from random import Random

from common.world.catalogue import Tool
from common.world.named.domains import DOMAINS, HELD_OUT_DOMAINS
from common.world.named.facts import Known, draw_table
from common.world.named.tasks import draw_task
from common.world.named.tools import build_catalogue
from common.world.settings import WorldSettings
from common.world.tasks import Task
from common.world.world import World


def named_world(settings: WorldSettings) -> World:
    """Draw the world of `settings`."""
    table = draw_table(settings.seed)
    words = {fact: fact for domain in DOMAINS + HELD_OUT_DOMAINS for fact in domain.facts}
    facts = Known(table)

    def tasks(rng: Random, tools: Sequence[Tool]) -> Iterator[Task]:
        while True:
            yield draw_task(rng, tools, facts)

    return World(build_catalogue(settings), table, tasks, words)
