"""What one document is about: a few invented tools of a training category, and things that aren't the world's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from common.world.catalogue import Api, Tool
from common.world.coded.domains import DOMAINS
from common.world.coded.offer import tells
from common.world.coded.tasks import draw_task
from common.world.coded.tools import make_tool
from common.world.coded.words import BY_NAME, phrase
from common.world.entities import ID, Table
from common.world.names import double_name
from common.world.tasks import Task


@dataclass(frozen=True)
class Scene:
    """Draws what a document needs."""

    rng: Random
    table: Table
    full: bool
    offered: int

    @cached_property
    def tools(self) -> Sequence[Tool]:
        """Three tools of one category."""
        domain = self.rng.choice(DOMAINS)
        names = {double_name(self.rng, held_out=False): None for _ in range(3)}
        return [make_tool(self.rng, domain, name, self.full) for name in names]

    def task(self, other_words: float) -> Task:
        """A task on the first of the tools."""
        tool, *siblings = self.tools
        return draw_task(self.rng, tool, siblings, self.table, other_words, self.offered)

    def told_apart(self) -> list[Api]:
        """As many APIs as tasks offer, in random order, no two of which tell the same."""
        apis: list[Api] = []
        for api in self.rng.sample(self.tools[0].apis, len(self.tools[0].apis)):
            if api.word and not any(tells(each, api.thing, api.attribute) for each in apis):
                apis.append(api)
        return apis[: self.offered]

    def say(self, api: Api, other_word: bool) -> str:
        """What `api` tells, in its own word or in another for the same; of one that finds ids, what it finds."""
        if not api.word:
            return "id" if api.attribute == ID else api.attribute.name
        words = [word for word in BY_NAME[api.attribute.name].words if word != api.word]
        word = self.rng.choice(words) if other_word else api.word
        return phrase(word, api.attribute.moment, api.attribute.unit)
