"""The file that all replicas write: one at a time, none waits without end; storage without locks is told of."""

import errno
import fcntl
import os
import time
from pathlib import Path

import httpx
import pytest

from teacher_server.adapters import store
from teacher_server.adapters.store import AdapterStore, StoredAdapter
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.adapters.making import make_adapter
from tests.unit.teacher_server.asking import connect, error_of, make_app

STORED = StoredAdapter(path="a", revision="1")


@pytest.mark.anyio
async def test_a_lock_that_is_not_freed_is_named_and_nothing_switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "PATIENCE_S", 0.2)
    make_adapter(tmp_path / "one")
    with (tmp_path / ".aliases-r0.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        async with connect(make_app(StandInEngine(adapters_root=tmp_path))) as http:
            answer = await http.put("/v1/adapters/new", json={"path": "one"})
            assert (answer.status_code, error_of(answer)["code"]) == (503, "adapters_locked")
            assert "aliases-r0.lock for 0.2 s" in error_of(answer)["message"]
            assert await served(http) == ["expert"]
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert (await http.put("/v1/adapters/new", json={"path": "one"})).status_code == 200
            assert await served(http) == ["expert", "new"]


async def served(http: httpx.AsyncClient) -> list[str]:
    return sorted(model["name"] for model in (await http.get("/v1/adapters")).json()["adapters"])


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_storage_without_locks_is_said_and_nothing_else(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    adapters = AdapterStore(tmp_path, "r0")
    (tmp_path / ".aliases-r0.lock").touch()  # left by a process that was killed
    started = time.monotonic()
    adapters.record("x", STORED)
    assert time.monotonic() - started < store.PATIENCE_S
    assert adapters.aliases() == {"x": STORED}
    assert "can't be locked" in caplog.text
