"""Adapters loaded, replaced and removed while the teacher runs, the same in every replica.

An HTTP call reaches one replica. That one loads the adapter, writes it down in the root's file and switches; the others
look at the file every few seconds and follow, and a replica that starts reads it before it answers.
"""

import asyncio
import logging
from collections.abc import Callable

from common.api import ServedModel
from common.errors import UserError
from teacher_server.adapters.registry import AdapterRegistry, Expert
from teacher_server.adapters.store import AdapterFolder, Placed

logger = logging.getLogger(__name__)

FOLLOW_S = 2.0
"""Seconds between two looks at what other replicas loaded."""


class AdapterControl:
    """Puts and deletes aliases of one replica's `registry`, and keeps up with the other replicas'.

    `clients` are the names of those who may change something, None if everybody may.
    """

    def __init__(
        self, registry: AdapterRegistry, folder: AdapterFolder, clients: tuple[str, ...] | None = None
    ) -> None:
        self._registry = registry
        self._folder = folder
        self.clients = clients
        self._followed: tuple[int, ...] = ()

    async def put(self, alias: str, relative: str) -> ServedModel:
        """Serve the adapter at `relative` under the root as `alias`.

        Raises OutsideRoot, NoFolder, NoRoom, or another UserError when it can't be served.
        """
        path = self._folder.locate(relative)

        def publish(expert: Expert) -> None:
            self._folder.record(alias, Placed(path=relative, revision=expert.name))

        return await self._registry.put(alias, path, publish)

    async def delete(self, alias: str) -> None:
        """Serve `alias` no longer. Raises UnknownModel."""
        await self._registry.delete(alias, lambda _: self._folder.record(alias, None))

    async def catch_up(self) -> None:
        """Serve what the file says. What can't be served is logged, and tried again at the next look."""
        version = self._folder.version()
        if version == self._followed:
            return
        problems = 0
        aliases = self._folder.aliases()
        for alias, placed in sorted(aliases.items(), key=lambda item: item[1] is not None):  # deletions make room
            try:
                await self._follow(alias, placed)
            except UserError as error:
                problems += 1
                logger.error("this replica can't follow the others: %s", error)
        if not problems:
            self._followed = version

    async def follow(self) -> None:
        """Catch up every few seconds, for ever."""
        while True:
            await asyncio.sleep(FOLLOW_S)  # nothing tells a replica of a change on another host's disk
            try:
                await self.catch_up()
            except Exception:  # whatever it was, this replica must go on following
                logger.exception("this replica can't follow the others")

    async def _follow(self, alias: str, placed: Placed | None) -> None:
        content = self._registry.content_of(alias)
        if placed is None:
            if content is not None:
                await self._registry.delete(alias, self._expect(alias, placed))
        elif content != placed.revision:
            await self._registry.put(alias, self._folder.locate(placed.path), self._expect(alias, placed))

    def _expect(self, alias: str, placed: Placed | None) -> Callable[[Expert | None], None]:
        """Prevents what was overtaken meanwhile, and the switch to other content than the other replica loaded."""

        def compare(expert: Expert | None) -> None:
            if self._folder.aliases().get(alias) != placed:
                raise UserError(f"adapter {alias}: changed again while it was followed")
            if expert is None or placed is None or expert.name == placed.revision:
                return
            raise UserError(
                f"adapter {alias}: {placed.path} holds {expert.name}, elsewhere {placed.revision} was loaded from it; "
                "PUT it again, better under a new path"
            )

        return compare
