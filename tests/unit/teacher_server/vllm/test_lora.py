"""What is done before adapters are loaded: on a CPU they are kept from the base, or refused with another vLLM."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest

from common.errors import UserError
from teacher_server.adapters.capacity import AdapterCapacity
from teacher_server.vllm.lora import LoraLoader
from tests.models import save_tiny_llama

CAPACITY = AdapterCapacity(1, 1, 4, frozenset({"q_proj"}))
EXTENDED = "teacher_server.vllm.patches.worker.TeacherWorker"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base"))


def prepare(base: Path, capacity: AdapterCapacity | None, extension: str) -> AsyncMock:
    """What vLLM's workers were called for."""
    config = SimpleNamespace(parallel_config=SimpleNamespace(worker_extension_cls=extension))
    llm = SimpleNamespace(vllm_config=config, collective_rpc=AsyncMock())
    asyncio.run(LoraLoader(llm, base, capacity).prepare())  # type: ignore[arg-type]
    return llm.collective_rpc


@pytest.mark.parametrize(
    ("cpu", "capacity", "extension", "installed"),
    [
        (True, CAPACITY, EXTENDED, True),
        (True, None, EXTENDED, False),
        (True, None, "", False),
        (False, CAPACITY, EXTENDED, False),
        (False, CAPACITY, "", False),
    ],
    ids=["on a CPU", "no adapters", "no adapters, another vLLM", "on a GPU", "on a GPU, another vLLM"],
)
def test_workers_operators_are_replaced_where_they_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
    base: Path,
    cpu: bool,
    capacity: AdapterCapacity | None,
    extension: str,
    installed: bool,
):
    monkeypatch.setattr("teacher_server.vllm.lora.current_platform.is_cpu", lambda: cpu)
    called = prepare(base, capacity, extension)
    assert [call.args for call in called.await_args_list] == [("install_lora_ops",)] * installed


def test_another_vllm_serves_no_adapters_on_a_cpu(monkeypatch: pytest.MonkeyPatch, base: Path):
    monkeypatch.setattr("teacher_server.vllm.lora.current_platform.is_cpu", lambda: True)
    monkeypatch.setattr("teacher_server.vllm.patches.compat.moved", lambda: ["version 0.33.1, tested with 0.32.0"])
    with pytest.raises(
        UserError, match=r"isn't known \(version 0.33.1, .*\): it may add them to .* Install 0.32.0, or"
    ):
        prepare(base, CAPACITY, "")
