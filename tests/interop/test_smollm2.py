"""Agents' clients on a real pretrained model, SmolLM2 on vLLM: it has learnt no tool, and its score says so."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from student_trainer.commands.fetch import SOURCES, PackageMissing, fetch
from teacher_server.settings import EngineSettings, TeacherServerSettings
from tests.interop.bfcl_tasks import bfcl, few
from tests.interop.environments import answer_of, python_of
from tests.interop.serving import vllm_service

pytestmark = pytest.mark.anyio
ENGINE = EngineSettings(
    dtype="bfloat16",
    max_length=8_191,  # with the one token that vLLM adds to a scored sequence, all 8,192 of the model's
    max_batched_tokens=8_192,
    kv_cache_gib=0.5,
    enforce_eager=True,
)


@pytest.fixture(scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    try:
        fetch(SOURCES["smollm2"], folder)
    except PackageMissing as error:
        pytest.skip(f"no SmolLM2 here: {error}")
    settings = TeacherServerSettings(model=str(folder), name="smollm2", engine=ENGINE, tool_layout="chat")
    async with vllm_service(settings) as url:
        yield url


async def test_an_agents_loop_comes_to_an_end(url: str, tmp_path: Path):
    python_of("openai-agents")
    task: dict[str, Any] = {"model": "smollm2", "question": "Will it rain in Oslo?", "max_turns": 3, "strict": False}
    settings = {"settings": {"max_tokens": 48, "temperature": 0}}
    told = await answer_of("openai-agents", task | {"stream": True} | settings, url, folder=tmp_path)
    print(f"\nopenai-agents on SmolLM2: {told.get('output') or told['error']!r}, calls {told['calls']}")
    assert "output" in told or "Max turns" in told["error"]
    assert 1 <= len(told["sent"]) <= 3


async def test_its_score_is_near_zero(url: str, tmp_path: Path):
    """With few tools, since 8,192 tokens hold no more; what is asked, called and seen grows from turn to turn."""
    python_of("bfcl")
    gold = await bfcl(tmp_path, do="gold")
    ids = few(gold)
    told = await bfcl(tmp_path, url, do="run", model="smollm2", ids=ids, steps=2, max_tokens=48, temperature=0.001)
    kinds = Counter(entry["wrong"] or "right" for entry in told["entries"].values())
    print(
        f"\nbfcl on SmolLM2, which has learnt no tool: {kinds['right']} of {len(ids)} right, "
        f"{told['requests']} requests; {dict(kinds)}"
    )
    assert told["requests"] >= len(ids)
    assert kinds["right"] <= 1
    assert not [kind for kind in kinds if kind.startswith("refused")]
