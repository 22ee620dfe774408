"""What workers do together: all of them go on, or none, so that none waits for another that has left.

A worker that fails to get its examples, or sees that a stop was asked for, would leave the others waiting in the sums
of the step. So all meet before each step; what one of them met with, all of them raise. A stop is asked for by the file
`stop` of the run folder. Every worker looks for it while it waits, since one that waits for answers holds up others.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from common.errors import UserError
from student_trainer.distributed.process_group import ProcessGroup

LOOK_EVERY_S = 0.5
Own = TypeVar("Own")
Shared = TypeVar("Shared")
P = ParamSpec("P")

log = logging.getLogger(__name__)


class StopAsked(Exception):
    """Somebody asked the run to stop; it goes on from there when it is started again."""


@dataclass(frozen=True)
class _Message(Generic[Shared]):
    """What a worker says to the others."""

    shared: list[Shared]
    failure: str | None = None
    stop: bool = False


def run_together(world: ProcessGroup, work: Callable[[], Own]) -> Own:
    """This worker's `work()`, once all workers have done theirs.

    Every worker must call it at the same place. Raises on all of them UserError, that of the first rank that has one,
    or else StopAsked if any worker met with that.
    """
    return gather_together(world, work, lambda _: list[None]())[0]


def gather_together(
    world: ProcessGroup, work: Callable[[], Own], share: Callable[[Own], list[Shared]]
) -> tuple[Own, list[Shared]]:
    """This worker's `work()`, and what all workers `share` of theirs, in the order of ranks.

    As `run_together`. What is shared is pickled; keep it small.
    """
    done: list[Own] = []
    met: UserError | StopAsked | None = None
    message: _Message[Shared] = _Message([])
    try:
        done.append(work())
        message = _Message(share(done[0]))
    except UserError as error:
        met, message = error, _Message([], failure=str(error))
        log.warning("worker %d can't go on: %s", world.rank, error)
    except StopAsked as asked:
        met, message = asked, _Message([], stop=True)
    messages = world.joined([message])
    failure = next((each.failure for each in messages if each.failure is not None), None)
    if failure is not None:
        raise met if isinstance(met, UserError) and str(met) == failure else UserError(failure)
    if any(each.stop for each in messages):
        raise StopAsked
    return done[0], [item for each in messages for item in each.shared]


async def unless_stopped(
    stop: Path, work: Callable[P, Coroutine[Any, Any, Own]], *arguments: P.args, **named: P.kwargs
) -> Own:
    """What `work` returns; it is given up once the file `stop` is there.

    Raises StopAsked, and whatever `work` does.
    """
    task = asyncio.create_task(work(*arguments, **named))
    try:
        while not task.done():
            if stop.exists():
                raise StopAsked
            await asyncio.wait([task], timeout=LOOK_EVERY_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
