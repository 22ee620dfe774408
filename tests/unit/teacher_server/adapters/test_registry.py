"""Aliases and experts: switched once the new one is loaded, the old one gone when its last request is."""

import asyncio
import math
from pathlib import Path

import pytest

from common.api import ServedModel
from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.adapters.capacity import plan_capacity
from teacher_server.adapters.registry import AdapterRegistry, LoadedAdapter, NoRoom, UnknownModel
from teacher_server.settings import AdapterLoadingSettings
from tests.stand_in_engine import StandInLoader
from tests.unit.teacher_server.adapters.making import make_adapter

pytestmark = pytest.mark.anyio

BASE = ServedModel(name="teacher", adapter=False, revision="base")


@pytest.fixture
def loader() -> StandInLoader:
    return StandInLoader()


@pytest.fixture
def registry(loader: StandInLoader) -> AdapterRegistry:
    return AdapterRegistry(loader, BASE, max_adapters=2)


async def settle() -> None:
    """Let tasks that were just created run to their end."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_replaced_expert_stays_until_its_last_request_is_done(
    registry: AdapterRegistry, loader: StandInLoader, tmp_path: Path
):
    old, new = make_adapter(tmp_path / "old"), make_adapter(tmp_path / "new", fill=1)
    await registry.put("x", old)
    with registry.use("x") as first, registry.use("x"):
        served = await registry.put("x", new)
        assert served.revision == f"base+{peft_files.revision_of(new)}"
        with registry.use("x") as second:
            assert first is not None
            assert second is not None
            assert (first.path, second.path) == (old, new)
            assert first.number != second.number
        assert loader.held == [first.name, second.name]
    await settle()
    assert loader.held == [second.name]
    assert registry.served() == [BASE, served]


async def test_the_same_content_is_loaded_once_whatever_its_names(
    registry: AdapterRegistry, loader: StandInLoader, tmp_path: Path
):
    adapter = make_adapter(tmp_path / "a")
    one = await registry.put("x", adapter)
    assert await registry.put("x", make_adapter(tmp_path / "copy")) == one
    await registry.put("y", adapter)
    assert len(loader.held) == 1
    await registry.delete("x")
    assert len(loader.held) == 1
    await registry.delete("y")
    assert loader.held == []


async def test_numbers_are_never_given_twice(registry: AdapterRegistry, tmp_path: Path):
    numbers = []
    for _ in range(3):
        await registry.put("x", make_adapter(tmp_path / "a"))
        with registry.use("x") as expert:
            assert expert is not None
            numbers.append(expert.number)
        await registry.delete("x")
    assert len(set(numbers)) == 3


async def test_an_expert_that_comes_back_while_it_is_still_used_is_kept(
    registry: AdapterRegistry, loader: StandInLoader, tmp_path: Path
):
    adapter = make_adapter(tmp_path / "a")
    await registry.put("x", adapter)
    with registry.use("x") as expert:
        await registry.delete("x")
        await registry.put("y", adapter)
    await settle()
    with registry.use("y") as again:
        assert again == expert
    assert len(loader.held) == 1


async def test_what_fails_leaves_the_old_one_and_frees_its_place(
    registry: AdapterRegistry, loader: StandInLoader, tmp_path: Path
):
    old = await registry.put("x", make_adapter(tmp_path / "old"))
    with pytest.raises(UserError, match="not numbers"):
        await registry.put("x", make_adapter(tmp_path / "nan", fill=math.nan))

    def refuse(expert: LoadedAdapter) -> None:
        raise UserError("disk full")

    with pytest.raises(UserError, match="disk full"):
        await registry.put("x", make_adapter(tmp_path / "new", fill=1), refuse)
    loading = asyncio.create_task(registry.put("x", make_adapter(tmp_path / "slow", fill=2)))
    while len(loader.held) < 2:
        await asyncio.sleep(0)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    assert loading.cancelled()
    assert registry.served() == [BASE, old]
    assert len(loader.held) == 1


async def test_an_adapter_that_is_written_while_it_is_loaded_is_refused(tmp_path: Path):
    class SlowLoader(StandInLoader):
        async def load(self, alias: str, expert: LoadedAdapter) -> None:
            await super().load(alias, expert)
            make_adapter(expert.path, fill=7)

    loader = SlowLoader()
    registry = AdapterRegistry(loader, BASE, max_adapters=2)
    with pytest.raises(UserError, match="changed while it was loaded"):
        await registry.put("x", make_adapter(tmp_path / "a"))
    assert (loader.held, registry.served()) == ([], [BASE])


async def test_room_is_for_so_many_names_and_one_replacement(registry: AdapterRegistry, tmp_path: Path):
    a, b, c, d = (make_adapter(tmp_path / str(fill), fill=fill) for fill in range(4))
    await registry.put("x", a)
    await registry.put("y", b)
    with pytest.raises(NoRoom, match=r"2 adapters are served.*max_adapters"):
        await registry.put("z", c)
    with registry.use("x"):
        await registry.put("x", c)
        with pytest.raises(NoRoom, match="requests in flight"):
            await registry.put("x", d)
    assert (await registry.put("x", d)).revision.endswith(peft_files.revision_of(d))


async def test_names_that_mean_nothing_or_the_base(registry: AdapterRegistry, tmp_path: Path):
    with registry.use("teacher") as expert:
        assert expert is None
    for leave in (registry.delete("nobody"), registry.put("teacher", make_adapter(tmp_path / "a"))):
        with pytest.raises(UserError, match=r"nobody|base model's name"):
            await leave
    with pytest.raises(UnknownModel, match="'nobody' isn't served"), registry.use("nobody"):
        pass


def test_room_is_what_the_settings_and_the_first_adapters_need(tmp_path: Path):
    first = {"x": make_adapter(tmp_path / "x", rank=16), "y": make_adapter(tmp_path / "y", module="fc")}
    assert plan_capacity({}, None) is None
    room = plan_capacity(first, None)
    assert room is not None
    assert (room.aliases, room.slots, room.rank, room.modules) == (2, 2, 32, {"q_proj", "fc"})
    room = plan_capacity(first, AdapterLoadingSettings(root=tmp_path, modules=("o_proj",), max_rank=8))
    assert room is not None
    assert (room.aliases, room.slots, room.rank, room.modules) == (4, 5, 32, {"q_proj", "fc", "o_proj"})
    room.check("x", first["x"])
    with pytest.raises(UserError, match="got rank 64, this teacher was started for ranks up to 32"):
        room.check("x", make_adapter(tmp_path / "x", rank=32))
    with pytest.raises(UserError, match=r"changes v_proj, this teacher was started for fc, o_proj, q_proj"):
        room.check("x", make_adapter(tmp_path / "x", module="v_proj"))
