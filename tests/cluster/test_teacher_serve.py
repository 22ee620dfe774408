"""A teacher deployed on a private Ray cluster, asked over HTTP: real Ray Serve, real vLLM."""

import asyncio
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import ray
from openai import AsyncOpenAI, UnprocessableEntityError
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.client import TeacherClient, TeacherRefused
from tests.models import CPU_ENVIRONMENT, save_tiny_adapter, save_tiny_llama

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
TOKEN = secrets.token_hex(16)
SCORE = DistillSequence(id="s", prompt_token_ids=[5, 6, 7], completion_token_ids=[8, 9])
WRITE = DistillSequence(id="w", prompt_token_ids=[5, 6, 7], generate=GenerateOptions(max_tokens=6, temperature=0))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def teacher_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a teacher that was deployed as `serve deploy` does it: from a file's import path and args."""
    folder = tmp_path_factory.mktemp("teacher")
    port = _free_port()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="kd", dir="/tmp") as ray_folder:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(num_cpus=2, resources={"teacher_pool": 1}, include_dashboard=False, _temp_dir=ray_folder)
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            config = ServeDeploySchema.model_validate({"applications": [_application(folder)]})
            _get_global_client().deploy_apps(config, _blocking=True)
            yield f"http://127.0.0.1:{port}/teacher"
        finally:
            engines = _engine_processes()
            try:
                serve.shutdown()
            finally:
                ray.shutdown()
            _, left = psutil.wait_procs(engines, timeout=20)
            for process in left:
                process.kill()
    assert not left, "the engine outlived its replica"


def _application(folder: Path) -> dict[str, Any]:
    base = save_tiny_llama(folder / "base", max_position_embeddings=4096)
    (folder / "token").write_text(TOKEN + "\n")
    return {
        "name": "teacher",
        "route_prefix": "/teacher",
        "import_path": "teacher_server.app:build",
        "args": {
            "model": str(base),
            "adapters": {"expert": str(save_tiny_adapter(folder / "adapter", base))},
            "token_file": str(folder / "token"),
            "engine": {
                "dtype": "float32",
                "max_length": 4000,
                "max_top_k": 16,
                "kv_cache_gib": 0.125,
                "enforce_eager": True,
            },
            "limits": {"max_requests": 1},
            "replicas": {"environment": CPU_ENVIRONMENT, "health_check_period_s": 1},
        },
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _engine_processes() -> list[psutil.Process]:
    """Processes of vLLM's engine under this test's Ray."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if "EngineCore" in " ".join(process.cmdline()):
                found.append(process)
    return found


def distill(*sequences: DistillSequence, **fields: Any) -> DistillRequest:
    return DistillRequest(**({"model": "teacher", "top_k": 4, "sequences": sequences} | fields))


async def test_the_port_asks_for_the_token(teacher_url: str):
    async with httpx.AsyncClient() as http:
        assert (await http.get(teacher_url + "/healthz")).json() == {"status": "ok"}
        for path in ("/v1/teacher", "/v1/distill", "/docs", "/openapi.json", "/", ""):
            assert (await http.get(teacher_url + path)).status_code == 401, path
        refused = await http.get(teacher_url + "/v1/teacher", headers={"Authorization": "Bearer wrong"})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_token"


async def test_says_what_it_serves(teacher_url: str):
    async with TeacherClient(teacher_url, TOKEN) as teacher:
        card = await teacher.teacher()
    assert [model.name for model in card.models] == ["teacher", "expert"]
    assert (card.vocabulary_size, card.max_top_k, card.max_length, card.dtype) == (512, 16, 4000, "float32")
    assert card.versions.keys() == {"wire", "vllm", "ray", "toolagent-kd"}


async def test_scores_and_writes_with_bad_sequences_beside_them(teacher_url: str):
    bad = [
        SCORE.model_copy(update={"id": "empty", "prompt_token_ids": []}),
        SCORE.model_copy(update={"id": "outside", "completion_token_ids": [512]}),
        SCORE.model_copy(update={"id": "long", "prompt_token_ids": [5] * 3999}),
    ]
    async with TeacherClient(teacher_url, TOKEN) as teacher:
        scored, empty, outside, long, written = await teacher.distill(distill(SCORE, *bad, WRITE))
        (again,) = await teacher.distill(
            distill(SCORE.model_copy(update={"completion_token_ids": written.token_ids.tolist()}))
        )
        (expert,) = await teacher.distill(distill(SCORE, model="expert"))
    assert ("empty" in empty.error, "vocabulary has 512" in outside.error, "at most 4000" in long.error) == (True,) * 3
    assert scored.error is None
    assert scored.token_ids.tolist() == [8, 9]
    assert again.topk_ids.tolist() == written.topk_ids.tolist()
    assert np.abs(again.token_logprobs - written.token_logprobs).max() < 2e-5
    assert np.abs(expert.token_logprobs - scored.token_logprobs).max() > 0.01


async def test_openais_client_is_answered_too(teacher_url: str):
    asked = {"model": "expert", "prompt": "Thought: I", "max_tokens": 20, "seed": 1, "stop": ["never"]}
    async with AsyncOpenAI(base_url=teacher_url + "/v1", api_key=TOKEN, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["teacher", "expert"]
        whole = await client.completions.create(**asked)
        pieces = [chunk.choices[0].text async for chunk in await client.completions.create(stream=True, **asked)]
        with pytest.raises(UnprocessableEntityError, match="no chat template"):
            await client.chat.completions.create(model="teacher", messages=[{"role": "user", "content": "x"}])
        endless = await client.completions.create(stream=True, **asked | {"n": 64, "max_tokens": 3900})
        await anext(endless)
        await endless.close()
        async with asyncio.timeout(30):
            assert (await client.with_options(max_retries=9).completions.create(**asked)).choices == whole.choices
    assert whole.choices[0].text == "".join(pieces)


async def test_refusals_reach_the_client_in_words(teacher_url: str):
    async with TeacherClient(teacher_url, TOKEN) as teacher:
        with pytest.raises(TeacherRefused, match=r"404.*'nobody'.*teacher, expert"):
            await teacher.distill(distill(SCORE, model="nobody"))
        with pytest.raises(TeacherRefused, match=r"422.*at most 16"):
            await teacher.distill(distill(SCORE, top_k=17))
    async with TeacherClient(teacher_url, "another-token") as stranger:
        with pytest.raises(TeacherRefused, match="401"):
            await stranger.teacher()


async def test_overload_is_refused_and_a_disconnect_cancels_the_work(teacher_url: str):
    """128 sequences of 3,900 tokens are minutes of work: the next answer comes only if they are cancelled."""
    options = GenerateOptions(max_tokens=3900, temperature=0, stop_token_ids=[])
    endless = [WRITE.model_copy(update={"id": str(number), "generate": options}) for number in range(128)]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(headers=headers) as http:
        body = distill(*endless).model_dump_json(exclude_none=True)
        async with http.stream("POST", teacher_url + "/v1/distill", content=body) as response:
            assert response.status_code == 200
            short = distill(SCORE).model_dump_json(exclude_none=True)
            refused = await http.post(teacher_url + "/v1/distill", content=short)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json()["error"]["code"] == "overloaded"
    async with TeacherClient(teacher_url, TOKEN) as teacher, asyncio.timeout(30):
        (answer,) = await teacher.distill(distill(SCORE))
    assert answer.error is None


async def test_a_dead_engine_is_noticed_and_its_replica_replaced(teacher_url: str):
    (engine,) = _engine_processes()
    engine.kill()
    async with TeacherClient(teacher_url, TOKEN, attempts=12) as teacher, asyncio.timeout(100):
        (answer,) = await teacher.distill(distill(SCORE))
    assert answer.error is None
    assert [process.pid for process in _engine_processes()] != [engine.pid]
