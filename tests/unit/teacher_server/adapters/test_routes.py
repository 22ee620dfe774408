"""Adapters put, replaced and deleted over HTTP, and how other replicas follow."""

import asyncio
import json
import logging
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import wire
from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.adapters.manager import AdapterManager
from teacher_server.adapters.registry import LoadedAdapter
from teacher_server.adapters.store import AdapterStore
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.adapters.making import make_adapter
from tests.unit.teacher_server.asking import SCORE, body, connect, error_of, make_app

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_adapter(tmp_path / "root" / "runs" / "one")
    make_adapter(tmp_path / "root" / "runs" / "two", fill=1)
    make_adapter(tmp_path / "root" / "broken", fill=math.nan)
    make_adapter(tmp_path / "outside", fill=2)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "circle").symlink_to("circle")
    (tmp_path / "root" / "empty").mkdir()
    return tmp_path / "root"


def replica(root: Path | None) -> httpx.AsyncClient:
    return connect(make_app(StandInEngine(adapters_root=root)))


async def revision(http: httpx.AsyncClient, model: str) -> str:
    (answer,) = wire.decode((await http.post("/v1/distill", json=body(SCORE, model=model))).content)
    return str(answer.revision)


async def test_an_adapter_is_served_replaced_and_deleted(root: Path):
    async with replica(root) as http:
        for folder in ("one", "two"):
            response = await http.put("/v1/adapters/new", json={"path": f"runs/{folder}"})
            expected = f"r0+{peft_files.revision_of(root / 'runs' / folder)}"
            assert (response.status_code, response.json()["revision"]) == (200, expected)
            assert await revision(http, "new") == expected
        listed = (await http.get("/v1/adapters")).json()["adapters"]
        assert {"name": "new", "adapter": True, "revision": expected} in listed
        assert (await http.delete("/v1/adapters/new")).status_code == 204
        assert (await http.post("/v1/distill", json=body(SCORE, model="new"))).status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("../outside", 403, "path_not_allowed"),
        ("runs/../../outside", 403, "path_not_allowed"),
        ("/etc", 403, "path_not_allowed"),
        ("link", 403, "path_not_allowed"),
        (".", 403, "path_not_allowed"),
        ("a\0b", 403, "path_not_allowed"),
        ("circle", 404, "path_not_found"),
        ("nowhere", 404, "path_not_found"),
        ("empty", 422, "adapter_refused"),
        ("broken", 422, "adapter_refused"),
        ("", 422, "invalid_value"),
        ("x" * 5000, 422, "invalid_value"),
        ("y" * 300, 404, "path_not_found"),
    ],
)
async def test_only_good_folders_under_the_root_are_loaded(root: Path, path: str, status: int, code: str):
    async with replica(root) as http:
        response = await http.put("/v1/adapters/new", json={"path": path})
        assert (response.status_code, error_of(response)["code"]) == (status, code)
        assert error_of(response)["param"] == (None if code == "adapter_refused" else "path")
        assert [one["name"] for one in (await http.get("/v1/adapters")).json()["adapters"]] == ["expert"]


async def test_other_mistakes_are_named(root: Path):
    good = {"path": "runs/one"}
    async with replica(root) as http:
        for method, path, content, status in [
            ("PUT", "new", good | {"base": "x"}, 422),
            ("PUT", "teacher", good, 422),
            ("PUT", ".new", good, 422),
            ("PUT", "x" * 257, good, 422),
            ("DELETE", "nobody", None, 404),
        ]:
            response = await http.request(method, f"/v1/adapters/{path}", json=content)
            assert (response.status_code, bool(error_of(response)["message"])) == (status, True), path
        for number in range(3):
            response = await http.put(f"/v1/adapters/n{number}", json=good)
        assert (response.status_code, error_of(response)["code"]) == (409, "no_room")


async def test_only_named_clients_change_adapters(root: Path):
    app = make_app(StandInEngine(adapters_root=root, administrators=("somebody",)))
    async with connect(app) as http:
        for method, path in (("PUT", "new"), ("DELETE", "expert")):
            response = await http.request(method, f"/v1/adapters/{path}", json={"path": "runs/one"})
            assert (response.status_code, error_of(response)["code"]) == (403, "client_not_allowed")
        assert [one["name"] for one in (await http.get("/v1/adapters")).json()["adapters"]] == ["expert"]


async def test_without_a_root_nothing_is_loaded():
    async with replica(None) as http:
        assert (await http.get("/v1/adapters")).status_code == 200
        for response in (await http.put("/v1/adapters/x", json={"path": "a"}), await http.delete("/v1/adapters/x")):
            assert response.status_code == 403
            assert "adapter_loading.root" in error_of(response)["message"]


def control(root: Path) -> tuple[StandInEngine, AdapterManager]:
    engine = StandInEngine(adapters_root=root)
    assert engine.adapters is not None
    return engine, engine.adapters


def names(engine: StandInEngine) -> dict[str, str]:
    return {model.name: model.revision for model in engine.models.served()}


async def test_other_replicas_follow_and_later_ones_start_with_it(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("teacher_server.adapters.manager.FOLLOW_S", 0.005)
    (one, first), (two, second) = control(root), control(root)
    following = asyncio.create_task(second.follow())
    await asyncio.gather(first.put("x", "runs/one"), first.put("y", "runs/two"))
    await first.delete("y")
    async with asyncio.timeout(5):
        while names(two) != names(one):
            await asyncio.sleep(0.005)
    following.cancel()
    await second.put("x", "runs/two")
    await first.catch_up()
    assert names(one) == names(two)
    three, third = control(root)
    await third.catch_up()
    assert names(three) == names(one)
    assert "x" in names(three)


async def test_a_replica_that_cannot_follow_says_so_and_tries_again(root: Path, caplog: pytest.LogCaptureFixture):
    (one, first), (two, second) = control(root), control(root)
    await first.put("x", "runs/one")
    make_adapter(root / "runs" / "one", fill=5)
    with caplog.at_level(logging.ERROR):
        await second.catch_up()
    assert "runs/one holds" in caplog.text
    assert "x" not in names(two)
    make_adapter(root / "runs" / "one")
    await second.catch_up()
    assert names(two) == names(one)


async def test_what_was_overtaken_while_it_was_followed_is_not_served(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (one, first), (two, second) = control(root), control(root)
    loading, go_on = asyncio.Event(), asyncio.Event()
    load = two.loader.load

    async def slowly(alias: str, expert: LoadedAdapter) -> None:
        loading.set()
        await go_on.wait()
        await load(alias, expert)

    monkeypatch.setattr(two.loader, "load", slowly)
    await first.put("x", "runs/one")
    following = asyncio.create_task(second.catch_up())
    await loading.wait()
    await first.put("x", "runs/two")
    go_on.set()
    await following
    assert "x" not in names(two)
    assert "changed again while it was followed" in caplog.text
    await second.catch_up()
    assert names(one) == names(two)


async def test_a_name_that_is_put_and_deleted_at_once_stays_deleted(root: Path):
    engine, adapters = control(root)
    await adapters.put("x", "runs/one")
    putting = asyncio.create_task(adapters.put("x", "runs/two"))
    while len(engine.loader.held) < 2:
        await asyncio.sleep(0)
    await adapters.delete("x")
    await putting
    await adapters.catch_up()
    assert "x" not in names(engine)


async def test_deletions_are_followed_first(root: Path, caplog: pytest.LogCaptureFixture):
    (one, first), (two, second) = control(root), control(root)
    for name in ("a", "b"):
        await first.put(name, "runs/one")
    await second.catch_up()
    await first.delete("b")
    await first.put("c", "runs/two")
    await first.delete("a")
    await first.put("a0", "runs/two")
    await second.catch_up()
    assert names(one) == names(two)
    assert not caplog.records


async def test_a_file_that_cannot_be_read_or_written_is_named(root: Path):
    engine, adapters = control(root)
    (file,) = [root / ".aliases-r0.json"]
    content: Any = {"x": {"path": "runs/one"}}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"aliases-r0.json is damaged.*mend or remove it"):
        await adapters.catch_up()
    file.unlink()
    (root / f".{file.name}.partial").mkdir()
    with pytest.raises(UserError, match=r"can't write .*aliases-r0.json"):
        await adapters.put("x", "runs/one")
    assert names(engine) == {"teacher": "r0"}
    with pytest.raises(UserError, match=r"adapter_loading.root: no folder .*nowhere"):
        AdapterStore(root / "nowhere", "r0")
