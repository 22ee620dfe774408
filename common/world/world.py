"""A world: its tools, the table that answers their calls, and what draws its tasks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from common.world.catalogue import Api, Catalogue, Tool
from common.world.entities import Table
from common.world.tasks import Task


@dataclass(frozen=True)
class World:
    """What tasks are drawn from and calls are answered by."""

    catalogue: Catalogue
    table: Table
    tasks: Callable[[Random, Sequence[Tool]], Iterator[Task]]
    """Tasks without end, each drawn on one of the given tools, which are of one split."""
    words: Mapping[str, str]
    """Words of answers, and the attributes that they name."""
    moments: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()

    @cached_property
    def functions(self) -> dict[str, Api]:
        """All APIs by the names under which prompts offer them."""
        return {api.function: api for api in self.catalogue.apis}
