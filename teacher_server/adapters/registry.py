"""Adapters by name: an alias points to weights that never change, and is switched while requests in flight finish.

An adapter's internal name is the hash of its content. vLLM keys its prefix cache by that name, so that other weights
under the same alias never meet the cached tokens of the old ones.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from common.api import ServedModel
from common.errors import UserError
from teacher_server.adapters import peft_files


class UnknownModel(UserError):
    """A name that no model is served by, or none any more."""


class NoRoom(UserError):
    """More adapters than the engine was started for; one must be deleted, or requests in flight must finish."""


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter's weights, loaded; other weights are another one."""

    name: str  # hash of the content
    number: int  # of this load, never given twice
    path: Path


class AdapterLoader(Protocol):
    """What puts adapters into an engine and takes them out."""

    async def load(self, alias: str, adapter: LoadedAdapter) -> None:
        """Make `adapter` ready to answer, warmed up. Raises UserError when the engine can't serve it."""
        ...

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Free what `adapter` takes, if anything of it was loaded."""
        ...


def _hash(alias: str, path: Path) -> str:
    peft_files.check_files(alias, path)
    return peft_files.revision_of(path)


def _keep_to_itself(adapter: LoadedAdapter | None) -> None:
    """An alias that nobody else has to hear of."""


class AdapterRegistry:
    """Which adapter each alias means, which adapters are loaded, and which of those requests still use."""

    def __init__(self, loader: AdapterLoader, base: ServedModel, max_adapters: int) -> None:
        """`max_adapters` aliases at most; the engine has room for one more, so that a new one loads first."""
        self.base = base
        self._loader = loader
        self._max_adapters = max_adapters
        self._aliases: dict[str, LoadedAdapter] = {}
        self._loaded: dict[str, LoadedAdapter] = {}
        self._uses: Counter[LoadedAdapter] = Counter()
        self._numbers = count(1)
        self._changing = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()

    def served(self) -> list[ServedModel]:
        """The base and every alias, each with its revision."""
        return [self.base, *(self._served(alias) for alias in self._aliases)]

    def content_of(self, alias: str) -> str | None:
        """Hash of the weights behind `alias`; None where there are none."""
        return self._aliases[alias].name if alias in self._aliases else None

    def revision_of(self, adapter: LoadedAdapter | None) -> str:
        """`base`, or `base+adapter`."""
        return self.base.revision if adapter is None else f"{self.base.revision}+{adapter.name}"

    @contextmanager
    def use(self, model: str) -> Iterator[LoadedAdapter | None]:
        """What `model` means now, None for the base; it stays loaded while the context lasts. Raises UnknownModel."""
        if model == self.base.name:
            yield None
            return
        adapter = self._aliases.get(model)
        if adapter is None:
            raise UnknownModel(
                f"the model {model!r} isn't served, or not any more; GET /v1/teacher lists those that are"
            )
        self._uses[adapter] += 1
        try:
            yield adapter
        finally:
            self._uses[adapter] -= 1
            if not self._uses[adapter] and adapter not in self._aliases.values():
                task = asyncio.create_task(self._unload_when_unchanging())
                self._unloading.add(task)
                task.add_done_callback(self._unloading.discard)

    async def put(
        self, alias: str, path: Path, publish: Callable[[LoadedAdapter], None] = _keep_to_itself
    ) -> ServedModel:
        """Load what `path` holds and point `alias` to it; nothing happens when it points there already.

        `publish` is called once the adapter is loaded and before the switch, which its error prevents.
        Raises UserError when the adapter can't be served, NoRoom when it would be one too many.
        """
        if alias == self.base.name:
            raise UserError(f"{alias!r} is the base model's name; give the adapter another one")
        async with self._changing:
            self._check_names(alias)
            await self._unload_unused()
            content = await asyncio.to_thread(_hash, alias, path)
            adapter = self._loaded.get(content) or await self._load(alias, content, path)
            try:
                publish(adapter)
                self._aliases[alias] = adapter
            finally:
                await self._unload_unused()
            return self._served(alias)

    async def delete(self, alias: str, publish: Callable[[None], None] = _keep_to_itself) -> None:
        """Forget `alias`, unless `publish` raises; its adapter is unloaded once no request uses it.

        Raises UnknownModel.
        """
        async with self._changing:
            if alias not in self._aliases:
                raise UnknownModel(f"no adapter is served as {alias!r}; GET /v1/teacher lists those that are")
            publish(None)
            del self._aliases[alias]
            await self._unload_unused()

    async def _load(self, alias: str, content: str, path: Path) -> LoadedAdapter:
        if len(self._loaded) > self._max_adapters:
            raise NoRoom("requests in flight still use an adapter that was replaced; try again when they have finished")
        adapter = LoadedAdapter(content, next(self._numbers), path)
        try:
            await self._loader.load(alias, adapter)
            if await asyncio.to_thread(_hash, alias, path) != content:
                raise UserError(f"adapter {alias}: {path} changed while it was loaded; write it, then load it")
        except BaseException:  # cancelled too: whatever came of the load must not keep its place
            await self._loader.unload(adapter)
            raise
        self._loaded[content] = adapter
        return adapter

    def _check_names(self, alias: str) -> None:
        if alias not in self._aliases and len(self._aliases) >= self._max_adapters:
            raise NoRoom(
                f"{len(self._aliases)} adapters are served, as many as this teacher was started for; "
                "DELETE one, or start with a higher adapter_loading.max_adapters"
            )

    async def _unload_when_unchanging(self) -> None:
        async with self._changing:
            await self._unload_unused()

    async def _unload_unused(self) -> None:
        aliased = set(self._aliases.values())
        for adapter in [
            adapter for adapter in self._loaded.values() if adapter not in aliased and not self._uses[adapter]
        ]:
            await self._loader.unload(adapter)
            del self._loaded[adapter.name], self._uses[adapter]

    def _served(self, alias: str) -> ServedModel:
        return ServedModel(name=alias, adapter=True, revision=self.revision_of(self._aliases[alias]))
