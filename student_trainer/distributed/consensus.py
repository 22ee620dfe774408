"""What workers decide together: to go on, or to stop, so that none waits for another that has left.

A worker that fails to get its examples, or sees that a stop was asked for, would leave the others waiting in the sums
of the step. So all meet before each step; what one of them met with, all of them raise. A stop is asked for by the file
`run_folder/stop`: every worker looks for it while it waits, since one that waits for answers holds up all others.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from common.errors import UserError
from student_trainer.distributed.process_group import World
from student_trainer.persistence.run_folder import stop_of

LOOK_EVERY_S = 0.5
Own = TypeVar("Own")
Shared = TypeVar("Shared")
P = ParamSpec("P")

log = logging.getLogger(__name__)


class StopAsked(Exception):
    """Somebody asked the run to stop; it goes on from there when it is started again."""


@dataclass(frozen=True)
class _Word(Generic[Shared]):
    """What a worker says to the others."""

    told: list[Shared]
    failure: str | None = None
    stop: bool = False


def agree(world: World, work: Callable[[], Own], tell: Callable[[Own], list[Shared]]) -> tuple[Own, list[Shared]]:
    """This worker's `work()`, and what all workers `tell` of theirs, in the order of ranks.

    Every worker must call it at the same place. Raises on all of them UserError, that of the first rank that has one,
    or else StopAsked if any worker met with that. What is told is pickled; keep it small.
    """
    done: list[Own] = []
    met: UserError | StopAsked | None = None
    word: _Word[Shared] = _Word([])
    try:
        done.append(work())
        word = _Word(tell(done[0]))
    except UserError as error:
        met, word = error, _Word([], failure=str(error))
        log.warning("worker %d can't go on: %s", world.rank, error)
    except StopAsked as asked:
        met, word = asked, _Word([], stop=True)
    words = world.joined([word])
    failure = next((each.failure for each in words if each.failure is not None), None)
    if failure is not None:
        raise met if isinstance(met, UserError) and str(met) == failure else UserError(failure)
    if any(each.stop for each in words):
        raise StopAsked
    return done[0], [told for each in words for told in each.told]


async def unless_stopped(
    run_folder: Path, work: Callable[P, Coroutine[Any, Any, Own]], *arguments: P.args, **named: P.kwargs
) -> Own:
    """What `work` returns; it is given up once a stop is asked for.

    Raises StopAsked, and whatever `work` does.
    """
    task = asyncio.create_task(work(*arguments, **named))
    try:
        while not task.done():
            if stop_of(run_folder).exists():
                raise StopAsked
            await asyncio.wait([task], timeout=LOOK_EVERY_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
