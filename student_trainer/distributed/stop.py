"""A stop that somebody asks for, by the file `stop` of the run folder.

Every worker looks for it while it waits, since one that waits for answers holds up all others.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from common.run_folder import RunFolder

LOOK_EVERY_S = 0.5
Result = TypeVar("Result")
P = ParamSpec("P")


class StopAsked(Exception):
    """Somebody asked the run to stop; it goes on from there when it is started again."""


async def unless_stopped(
    run_folder: Path, work: Callable[P, Coroutine[Any, Any, Result]], *arguments: P.args, **named: P.kwargs
) -> Result:
    """What `work` returns; it is given up once a stop is asked for.

    Raises StopAsked, and whatever `work` does.
    """
    stop = RunFolder(run_folder).stop
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
