"""Adapters loaded, replaced and removed while the teacher runs, the same in every replica.

An HTTP call reaches one replica. That one loads the adapter, writes it down in the root's file and switches; the others
look at the file every few seconds and follow, and a replica that starts reads it before it answers.
"""

import asyncio
import logging
from collections.abc import Callable

from common.api import ServedModel
from common.errors import UserError
from teacher_server.adapters.registry import AdapterRegistry, LoadedAdapter
from teacher_server.adapters.store import AdapterStore, StoredAdapter

logger = logging.getLogger(__name__)

FOLLOW_S = 2.0
"""Seconds between two looks at what other replicas loaded."""


class AdapterManager:
    """Puts and deletes aliases of one replica's `registry`, and keeps up with the other replicas'.

    `clients` are the names of those who may change something, None if everybody may.
    """

    def __init__(self, registry: AdapterRegistry, store: AdapterStore, clients: tuple[str, ...] | None = None) -> None:
        self._registry = registry
        self._store = store
        self.clients = clients
        self._followed: tuple[int, ...] = ()

    async def put(self, alias: str, relative: str) -> ServedModel:
        """Serve the adapter at `relative` under the root as `alias`.

        Raises OutsideRoot, NoFolder, NoRoom, Locked, or another UserError when it can't be served.
        """
        path = self._store.locate(relative)

        def publish(adapter: LoadedAdapter) -> None:
            self._store.record(alias, StoredAdapter(path=relative, revision=adapter.name))

        return await self._registry.put(alias, path, publish)

    async def delete(self, alias: str) -> None:
        """Serve `alias` no longer. Raises UnknownModel or Locked."""
        await self._registry.delete(alias, lambda _: self._store.record(alias, None))

    async def catch_up(self) -> None:
        """Serve what the file says. What can't be served is logged, and tried again at the next look."""
        version = self._store.version()
        if version == self._followed:
            return
        problems = 0
        aliases = self._store.aliases()
        for alias, stored in sorted(aliases.items(), key=lambda item: item[1] is not None):  # deletions make room
            try:
                await self._follow(alias, stored)
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

    async def _follow(self, alias: str, stored: StoredAdapter | None) -> None:
        content = self._registry.content_of(alias)
        if stored is None:
            if content is not None:
                await self._registry.delete(alias, self._expect(alias, stored))
        elif content != stored.revision:
            await self._registry.put(alias, self._store.locate(stored.path), self._expect(alias, stored))

    def _expect(self, alias: str, stored: StoredAdapter | None) -> Callable[[LoadedAdapter | None], None]:
        """What to call before a switch of `alias` to what the other replicas serve. It raises UserError

        - when they changed the alias again in the meantime: the next look follows that change instead;
        - when the folder holds other weights by now than the replica that was asked loaded from it.
        """

        def compare(adapter: LoadedAdapter | None) -> None:
            if self._store.aliases().get(alias) != stored:
                raise UserError(f"adapter {alias}: changed again while it was followed")
            if adapter is None or stored is None or adapter.name == stored.revision:
                return
            raise UserError(
                f"adapter {alias}: {stored.path} holds {adapter.name}, elsewhere {stored.revision} was loaded from it; "
                "PUT it again, better under a new path"
            )

        return compare
