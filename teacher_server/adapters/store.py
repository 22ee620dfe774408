"""Adapters on disk: the one folder that they may be loaded from later, and a file in it that says which are.

    root/
      .aliases-<revision of the base>.json   {"expert": {"path": "runs/7/adapter", "revision": "9f…"}, "gone": null}
      runs/7/adapter/                        a folder saved by PEFT

Every replica reads that file, so that one answers like another and a new one like those before it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isdir, realpath
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import UserError
from common.files import write_atomically
from common.settings import Settings, UserPath
from teacher_server.engine import model_files


class AdapterLoadingSettings(Settings):
    """Which adapters may be loaded while the teacher runs; the engine reserves their memory when it starts."""

    root: UserPath
    """Folder that they are loaded from; all replicas must see the same one, and may write a file into it."""
    max_adapters: int = Field(default=4, ge=1, le=64)
    """Adapters served at a time, those of `adapters` among them; memory is kept for one more, to replace one."""
    max_rank: int = Field(default=16, ge=1)
    """Largest LoRA rank."""
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Kinds of module that they may change; each takes memory, used or not."""
    clients: tuple[str, ...] | None = None
    """Names of the tokens that may put and delete adapters, which are everybody's; without it each may."""


class OutsideRoot(UserError):
    """A path that leads out of the folder that adapters may come from."""


class NoFolder(UserError):
    """A path under the root where no folder is."""


@dataclass(frozen=True)
class AdapterRoom:
    """What the engine is started for: `aliases` names, LoRA up to `rank` on `modules`, `slots` adapters at once."""

    aliases: int
    slots: int
    rank: int
    modules: frozenset[str]

    def check(self, alias: str, path: Path) -> None:
        """Raises UserError unless the adapter in `path` fits: vLLM would leave out the modules it doesn't expect."""
        model_files.check_adapter(alias, path)
        rank = model_files.adapter_rank(alias, path)
        if rank > self.rank:
            raise UserError(
                f"adapter {alias}: got rank {rank}, this teacher was started for ranks up to {self.rank}; "
                "train a smaller one, or start with a higher adapter_loading.max_rank"
            )
        unexpected = model_files.adapter_modules(alias, path) - self.modules
        if unexpected:
            raise UserError(
                f"adapter {alias} changes {', '.join(sorted(unexpected))}, this teacher was started for "
                f"{', '.join(sorted(self.modules))}; name all of them in adapter_loading.modules"
            )


def plan_room(adapters: dict[str, Path], loading: AdapterLoadingSettings | None) -> AdapterRoom | None:
    """Room for the `adapters` of the start and, with `loading`, for later ones and the old beside the new.

    None when there will never be any. Raises UserError when one of `adapters` can't be served, or the root isn't there.
    """
    for alias, path in adapters.items():
        model_files.check_adapter(alias, path)
    ranks = [model_files.adapter_rank(alias, path) for alias, path in adapters.items()]
    modules = frozenset[str]().union(*(model_files.adapter_modules(alias, path) for alias, path in adapters.items()))
    if loading is not None:
        check_root(loading.root)
        return AdapterRoom(
            loading.max_adapters,
            loading.max_adapters + 1,
            max([*ranks, loading.max_rank]),
            modules | set(loading.modules),
        )
    return AdapterRoom(len(adapters), len(adapters), max(ranks), modules) if adapters else None


def check_root(root: Path) -> None:
    """Raises UserError unless there is such a folder."""
    if not root.is_dir():
        raise UserError(f"adapter_loading.root: no folder {root.absolute()}; make it on every node of the teachers")


class Placed(BaseModel):
    """Where under the root the adapter behind an alias is, and the hash of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    revision: str


_ALIASES = TypeAdapter(dict[str, Placed | None])


class AdapterFolder:
    """The root, and the file in it that all replicas of teachers with the base `base_revision` share."""

    def __init__(self, root: Path, base_revision: str) -> None:
        """Raises UserError when there is no such folder."""
        check_root(root)
        self._root = root.resolve()
        self._file = self._root / f".aliases-{base_revision}.json"

    def locate(self, relative: str) -> Path:
        """The folder at `relative` under the root, links resolved. Raises OutsideRoot or NoFolder."""
        if "\0" in relative:
            raise OutsideRoot("path: got a NUL character; give a path relative to adapter_loading.root")
        folder = Path(realpath(self._root / relative))  # resolve() raises for links that go in circles
        if Path(relative).is_absolute() or not folder.is_relative_to(self._root) or folder == self._root:
            raise OutsideRoot(
                f"path: got {relative!r}, which isn't inside the folder that adapters may be loaded from; give a path "
                "relative to adapter_loading.root, without links that lead out of it"
            )
        if not isdir(folder):  # is_dir() raises for names that are too long
            raise NoFolder(f"path: no folder {relative!r} under adapter_loading.root; copy the adapter there first")
        return folder

    def version(self) -> tuple[int, ...]:
        """What changes with the file."""
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return ()
        return status.st_mtime_ns, status.st_ino, status.st_size

    def aliases(self) -> dict[str, Placed | None]:
        """What was loaded later, by alias; None for one that was deleted. Raises UserError when the file is damaged."""
        try:
            return _ALIASES.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise UserError(f"{self._file} is damaged: {error.errors()[0]['msg']}; mend or remove it") from None

    def record(self, alias: str, placed: Placed | None) -> None:
        """Write one alias down for all replicas, at once or not at all. Raises UserError when that's impossible."""
        try:
            with self._alone():
                values = self.aliases() | {alias: placed}
                write_atomically(self._file, _ALIASES.dump_json(values, indent=1))
        except OSError as error:
            raise UserError(
                f"can't write {self._file}: {error.strerror}; the other replicas learn from it what is served"
            ) from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other replicas from writing meanwhile."""
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
