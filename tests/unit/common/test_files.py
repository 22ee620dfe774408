"""Files and folders that appear whole or not at all, wherever the machine ends."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import file_in_place, folder_in_place, write_atomically


def write_folder(path: Path, text: str) -> None:
    with folder_in_place(path) as folder:
        (folder / "below").mkdir()
        (folder / "below" / text).touch()


def content(path: Path) -> object:
    return sorted(each.name for each in path.rglob("*.txt")) if path.is_dir() else path.read_text()


Write = Callable[[Path, str], None]
WRITERS: list[Write] = [write_atomically, write_folder]


@pytest.mark.parametrize("write", WRITERS)
def test_what_was_there_is_replaced(write: Write, tmp_path: Path):
    for text in ("old.txt", "new.txt"):
        write(tmp_path / "it", text)
        assert content(tmp_path / "it") in (text, [text])
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_what_was_there_stays_where_a_step_fails_and_the_next_try_succeeds(
    write: Write, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "it", "old.txt")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "it", "new.txt")
    if (write, step) != (write_folder, "rename"):  # a folder can't be replaced at once: between the two it is gone
        assert content(tmp_path / "it") in ("old.txt", ["old.txt"])
    assert not list(tmp_path.glob(".*"))
    write(tmp_path / "it", "new.txt")
    assert content(tmp_path / "it") in ("new.txt", ["new.txt"])


@pytest.mark.parametrize("in_place", [file_in_place, folder_in_place])
def test_what_an_error_left_unfinished_is_removed(
    in_place: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
):
    with pytest.raises(ZeroDivisionError), in_place(tmp_path / "it"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_a_link_leads_to_the_folder_that_is_replaced(there: bool, tmp_path: Path):
    target = tmp_path / "disk" / "it"
    (target if there else target.parent).mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(target)
    write_folder(link, "new.txt")
    assert link.is_symlink()
    assert content(target) == ["new.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["it"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "is or holds the folder that this runs in"),
        ("..", "is or holds the folder that this runs in"),
        ("here/..", "is or holds the folder that this runs in"),
        ("/proc", "a mount point"),
        ("file", "is no folder"),
        ("loop", "is no folder"),
    ],
)
def test_a_folder_that_cannot_be_replaced_is_refused_before_any_work(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    (here / "here").mkdir(parents=True)
    (here / "file").touch()
    (here / "loop").symlink_to(here / "loop")
    monkeypatch.chdir(here)
    with pytest.raises(UserError, match=message), folder_in_place(Path(name)):
        raise AssertionError("the work began")


def test_what_a_crash_left_aside_is_no_part_of_the_next(tmp_path: Path):
    (tmp_path / ".it.partial").mkdir()
    (tmp_path / ".it.partial" / "leftover.txt").touch()
    write_folder(tmp_path / "it", "new.txt")
    assert content(tmp_path / "it") == ["new.txt"]


def test_the_disk_has_it_before_its_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[bool] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        seen.append((tmp_path / "it").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(tmp_path / "it", "x")
    assert seen == [False, True]  # the contents, then the folder's names
