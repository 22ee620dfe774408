"""Adapters on disk: the one folder that they may be loaded from later, and a file in it that says which are.

    root/
      .aliases-<revision of the base>.json   {"expert": {"path": "runs/7/adapter", "revision": "9f…"}, "gone": null}
      runs/7/adapter/                        a folder saved by PEFT

Every replica reads that file, so that one answers like another and a new one like those before it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import isdir, realpath
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common.errors import UserError
from common.files import write_atomically

PATIENCE_S = 5.0
"""How long a replica, which answers nobody meanwhile, waits for another that writes the file."""

logger = logging.getLogger(__name__)


class OutsideRoot(UserError):
    """A path that leads out of the folder that adapters may come from."""


class NoFolder(UserError):
    """A path under the root where no folder is."""


class Locked(UserError):
    """The file of aliases, which another process holds."""


def check_root(root: Path) -> None:
    """Raises UserError unless there is such a folder."""
    if not root.is_dir():
        raise UserError(f"adapter_loading.root: no folder {root.absolute()}; make it on every node of the teachers")


class StoredAdapter(BaseModel):
    """Where under the root the adapter behind an alias is, and the hash of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    revision: str


_ALIASES = TypeAdapter(dict[str, StoredAdapter | None])


class AdapterStore:
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

    def aliases(self) -> dict[str, StoredAdapter | None]:
        """What was loaded later, by alias; None for one that was deleted. Raises UserError when the file is damaged."""
        try:
            return _ALIASES.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise UserError(f"{self._file} is damaged: {error.errors()[0]['msg']}; mend or remove it") from None

    def record(self, alias: str, stored: StoredAdapter | None) -> None:
        """Write one alias down for all replicas, at once or not at all.

        Raises Locked when others keep on writing, or another UserError when the file can't be written.
        """
        try:
            with self._locked():
                values = self.aliases() | {alias: stored}
                write_atomically(self._file, _ALIASES.dump_json(values, indent=1))
        except OSError as error:
            raise UserError(
                f"can't write {self._file}: {error.strerror}; the other replicas learn from it what is served"
            ) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep the other replicas from writing. Where the storage has no locks, that is only said. Raises Locked."""
        # never a lock by a file's mere existence: it would outlive a killed process
        lock = FileLock(self._file.with_suffix(".lock"), PATIENCE_S, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            raise Locked(
                f"another process has held {lock.lock_file} for {PATIENCE_S:g} s, expected less than one; try again, "
                "or end what holds it"
            ) from None
        except (OSError, NotImplementedError) as error:
            logger.warning("%s can't be locked (%s): change adapters through one replica at a time", self._file, error)
        try:
            yield
        finally:
            lock.release()
