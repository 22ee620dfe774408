"""The run folder's lock: held by one, freed however its holder ends, and only missed where storage has none."""

import errno
import fcntl
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from common.errors import UserError
from student_trainer.persistence.run_lock import locked


def hold(folder: Path, says: Connection) -> None:
    with locked(folder):
        says.send(os.getpid())
        says.recv()


def test_the_holder_is_named_and_its_death_frees_the_lock(tmp_path: Path):
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    number = ours.recv()
    for _ in range(2):  # who tries leaves the name as it is
        with pytest.raises(UserError, match=rf"another run writes to .* \(process {number} on "), locked(tmp_path, 0.3):
            pass
    holder.kill()
    holder.join()
    with locked(tmp_path, 0):
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_storage_without_locks_is_said_and_nothing_else(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with locked(tmp_path, 0):
            pass
    assert [f"{tmp_path} can't be locked" in message for message in caplog.messages] == [True, True]
