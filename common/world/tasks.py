"""Tasks as data: a user's query, what it asks for, the APIs on offer, and the calls that solve it."""

from dataclasses import dataclass

from common.world.catalogue import Api
from common.world.entities import Fact, Value


@dataclass(frozen=True)
class Call:
    """One API call of a solution, the thought before it and the response after it, which is empty where it fails."""

    thought: str
    api: Api
    arguments: dict[str, Value]
    response: dict[str, Value]
    said: str = ""
    """In which words the query asks for what it tells, where it does."""
    nats: float = 0.0
    """How surprising the wording of the thought is to whoever knows the world's odds."""


@dataclass(frozen=True)
class Task:
    """A query and its solution. `apis` are those on offer, in the prompt's order; only some of them are called."""

    query: str
    asked: tuple[Fact, ...]
    apis: tuple[Api, ...]
    calls: tuple[Call, ...]
    closing_thought: str
    answer: str
    closing_nats: float = 0.0
    """How surprising the wording of the two is to whoever knows the world's odds."""
