"""Policies: what writes an agent's turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.agents.types import StopReason, WrittenTurn
from common.sequences import Provenance
from common.toolbench.rows import Turn


@dataclass(frozen=True)
class Sampling:
    """How turns are drawn: `n` of them, of at most `max_tokens` tokens each, from seeds that follow from `seed`.

    Each begins with `prefix`, words that are given and not written.
    """

    seed: int
    n: int = 1
    temperature: float = 0.5
    top_p: float = 1.0
    max_tokens: int = 512
    prefix: str = ""


class Policy(Protocol):
    """Writes turns; hundreds of requests may be in flight. Raises InfrastructureFailure, BoundReached."""

    @property
    def provenance(self) -> Provenance:
        """Whether its turns are a teacher's or a student's."""

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        """`sampling.n` turns that each could follow `turns`; their text holds the prefix."""


class BoundReached(Exception):
    """The episode's bounds allow no more, such as room for a turn behind the turns so far: it ends here."""

    def __init__(self, stop: StopReason) -> None:
        super().__init__(stop)
        self.stop = stop
