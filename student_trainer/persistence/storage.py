"""Where checkpoints are kept: the run folder, or any storage that Ray Train takes, by its `pyarrow.fs` URI.

    ROOT/
      step-100/ step-200/ …    checkpoints, each with its manifest.json
      latest                   the name of the newest, which the run's ledger agrees with

On a local disk a checkpoint is written aside and renamed into place. An object store can't rename: there it is copied
into place, its manifest last, so what has no manifest is no checkpoint. `latest` moves once a checkpoint is whole. What
a local disk is asked for: that a file is there after a loss of power once it and its folder were flushed, and that a
rename is all or nothing.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from common.errors import UserError
from common.files import folder_in_place, write_atomically
from common.run_folder import RunFolder

LATEST = "latest"
MANIFEST = "manifest.json"
STEP = "step-"


class Storage:
    """The checkpoints of one run under `root` of a file system. Every call may raise OSError.

    `is_local`: they are read and written where they are; else copies of them are.
    """

    def __init__(self, fs: FileSystem, root: str) -> None:
        self._fs, self._root = fs, root
        self.is_local = isinstance(fs, LocalFileSystem)

    def __str__(self) -> str:
        return self._root if self.is_local else f"{self._fs.type_name}:{self._root}"

    def steps(self) -> list[int]:
        """Steps that there are checkpoints of, damaged and unfinished ones too, newest first."""
        found = self._fs.get_file_info(FileSelector(self._root, allow_not_found=True))
        names = [info.base_name for info in found if info.type == FileType.Directory]
        numbers = [name.removeprefix(STEP) for name in names if name.startswith(STEP)]
        return sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)

    def latest(self) -> str | None:
        """What the pointer says, or None where there is none."""
        return self._read(f"{self._root}/{LATEST}")

    def read(self, step: int, name: str) -> str | None:
        """The text of a file of a checkpoint, or None where there is none."""
        return self._read(f"{self._at(step)}/{name}")

    def remove(self, step: int) -> None:
        self._fs.delete_dir(self._at(step))

    @contextmanager
    def opened(self, step: int) -> Iterator[Path]:
        """A local folder with the checkpoint's files: its own, or a copy for as long as it is open."""
        if self.is_local:
            yield Path(self._at(step))
            return
        with TemporaryDirectory(prefix="checkpoint-") as folder:
            copy_files(self._at(step), folder, source_filesystem=self._fs)
            yield Path(folder)

    def add(self, step: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a local folder, manifest and all, and make it the checkpoint of `step`, the latest.

        One that is there is replaced. Where anything fails, what was is as it was, but for a damaged one of that step.
        """
        if self.is_local:
            self._rename_into_place(step, write)
        else:
            with TemporaryDirectory(prefix="checkpoint-") as folder:
                write(Path(folder))
                self._copy_into_place(step, Path(folder))
        self.point_to(step)

    def point_to(self, step: int) -> None:
        """Let `latest` name the checkpoint of `step`."""
        if self.is_local:
            write_atomically(Path(self._root) / LATEST, _name(step))
            return
        with self._fs.open_output_stream(f"{self._root}/{LATEST}") as stream:
            stream.write(_name(step).encode())

    def _rename_into_place(self, step: int, write: Callable[[Path], None]) -> None:
        for leftover in Path(self._root).glob(f".{STEP}*.partial"):
            shutil.rmtree(leftover)
        with folder_in_place(Path(self._at(step))) as draft:
            write(draft)

    def _copy_into_place(self, step: int, draft: Path) -> None:
        if step in self.steps():
            self.remove(step)
        self._fs.create_dir(self._at(step), recursive=True)
        for file in sorted(draft.iterdir(), key=lambda file: file.name == MANIFEST):
            copy_files(str(file), f"{self._at(step)}/{file.name}", destination_filesystem=self._fs)

    def _at(self, step: int) -> str:
        return f"{self._root}/{_name(step)}"

    def _read(self, path: str) -> str | None:
        try:
            with self._fs.open_input_stream(path) as stream:
                return bytes(stream.read()).decode(errors="replace")
        except FileNotFoundError:
            return None


def open_storage(run_folder: Path, uri: str | None) -> Storage:
    """The storage of the run's checkpoints: `uri`/NAME for a run folder of that name, or RUN/checkpoints.

    Raises UserError when it can't be reached and written to.
    """
    if uri is None:
        return Storage(LocalFileSystem(), str(RunFolder(run_folder).checkpoints))
    try:
        fs, root = FileSystem.from_uri(uri)
        root = f"{root.rstrip('/')}/{run_folder.name}"
        fs.create_dir(root, recursive=True)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"checkpoint_storage: can't reach {uri}: {reason}; give a folder, or a URI that pyarrow.fs knows, as "
            "s3://bucket/folder or fsspec+PROTOCOL://…, with its credentials in the workers' environment"
        ) from None
    return Storage(fs, root)


def _name(step: int) -> str:
    return f"{STEP}{step}"
