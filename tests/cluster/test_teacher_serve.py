"""A teacher deployed on a private Ray cluster, asked over HTTP: real Ray Serve, real vLLM."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from openai import AsyncOpenAI, UnprocessableEntityError

from cluster.local.nodes import SERVE_GUARD
from common import wire
from common.api import DistillRequest, DistillSequence, GenerateOptions
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.failures import TeacherRefused
from tests.asking import asking
from tests.models import CPU_ENVIRONMENT, save_tiny_adapter, save_tiny_llama
from tests.serving import deploy_config, engines_below, metrics_page, ray_serve

pytestmark = pytest.mark.anyio
TOKEN = secrets.token_hex(16)
SHOWN = ("teacher_positions_total", "vllm_num_requests_running", "vllm_prompt_tokens_total")
SCORE = DistillSequence(id="s", prompt_token_ids=[5, 6, 7], completion_token_ids=[8, 9])
WRITE = DistillSequence(id="w", prompt_token_ids=[5, 6, 7], generate=GenerateOptions(max_tokens=6, temperature=0))


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teacher") / "token"


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[str]:
    """Where Ray writes its logs, among others."""
    with tempfile.TemporaryDirectory(prefix="kd", dir="/tmp") as folder:
        yield folder


@pytest.fixture(scope="module")
def teacher_url(token_file: Path, ray_folder: str) -> Iterator[str]:
    """The address of a teacher that was deployed as `serve deploy` does it: from a file's import path and args."""
    folder = token_file.parent
    with ray_serve(folder=ray_folder, RAY_metrics_report_interval_ms="1000", **SERVE_GUARD) as address:
        deploy_config(_application(folder))
        try:
            yield address + "/teacher"
        finally:
            engines = engines_below(psutil.Process())
    _, left = psutil.wait_procs(engines, timeout=20)
    for process in left:
        process.kill()
    assert not left, "the engine outlived its replica"


def _application(folder: Path) -> dict[str, Any]:
    base = save_tiny_llama(folder / "base", max_position_embeddings=4096)
    (folder / "token").write_text(f"trainer: {TOKEN}\njudge: {secrets.token_hex(16)}\n")
    return {
        "name": "teacher",
        "route_prefix": "/teacher",
        "import_path": "teacher_server.serve.app:build",
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
            "limits": {"max_requests": 1, "max_body_bytes": 1_000_000},
            "replicas": {"environment": CPU_ENVIRONMENT, "health_check_period_s": 1},
        },
    }


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


async def test_serves_own_routes_are_closed(teacher_url: str):
    async with httpx.AsyncClient(base_url=teacher_url.removesuffix("/teacher")) as http:
        for path in ("/-/routes", "/-/routes/", "/-/docs"):
            assert (await http.get(path)).json()["error"]["code"] == "invalid_token", path
        assert (await http.get("/-/healthz")).text == "success"  # to probes of this host


async def test_bodies_are_bounded_behind_serves_proxy_too(teacher_url: str):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(headers=headers) as http:
        large = await http.post(teacher_url + "/v1/distill", content=b" " * 1_000_001)
        deep = await http.post(teacher_url + "/v1/distill", content=b"[" * 100_000)
        document = await http.get(teacher_url + "/openapi.json")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    assert (deep.status_code, deep.json()["error"]["code"]) == (400, "invalid_json")
    assert document.json()["paths"].keys() >= {"/v1/teacher", "/v1/distill", "/healthz"}


async def test_tokens_change_without_a_restart(teacher_url: str, token_file: Path):
    before = token_file.read_text()
    later = secrets.token_hex(16)
    try:
        token_file.write_text(f"{before}later: {later}\n")
        async with asyncio.timeout(20), TeacherCalls(teacher_url, later) as teacher:
            while True:
                with suppress(TeacherRefused):  # until the file is looked at again
                    await teacher.teacher()
                    break
                await asyncio.sleep(0.1)
    finally:
        token_file.write_text(before)


async def test_says_what_it_serves(teacher_url: str):
    async with asking(teacher_url, TOKEN) as teacher:
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
    async with asking(teacher_url, TOKEN) as teacher:
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
    async with TeacherCalls(teacher_url, TOKEN) as teacher:
        with pytest.raises(TeacherRefused, match=r"404.*'nobody'.*teacher, expert"):
            await teacher.distill(distill(SCORE, model="nobody"))
        with pytest.raises(TeacherRefused, match=r"422.*at most 16"):
            await teacher.distill(distill(SCORE, top_k=17))
    async with TeacherCalls(teacher_url, "another-token") as stranger:
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
    async with asking(teacher_url, TOKEN) as teacher, asyncio.timeout(30):
        (answer,) = await teacher.distill(distill(SCORE))
    assert answer.error is None


async def test_the_log_names_the_client_and_never_shows_a_token(teacher_url: str, ray_folder: str):
    async with asking(teacher_url, TOKEN) as teacher:
        (answer,) = await teacher.distill(distill(SCORE))
    assert answer.error is None
    logs = "".join(
        path.read_text(errors="replace")
        for path in Path(ray_folder).rglob("*.*")
        if ".log" in path.name or path.suffix in (".err", ".out")
    )
    assert "access client=trainer method=POST path=/teacher/v1/distill status=200" in logs
    assert TOKEN not in logs


async def test_vllms_own_metrics_stand_beside_ours(teacher_url: str):
    async with asking(teacher_url, TOKEN) as teacher, asyncio.timeout(30):
        await teacher.distill(distill(SCORE))
        while not all(f"\nray_{name}{{" in metrics_page() for name in SHOWN):
            await asyncio.sleep(0.2)  # Ray's agent collects now and then


async def test_memory_and_file_descriptors_stay_flat(teacher_url: str):
    """Of the replica and vLLM's engine; the stand-in's soak in test_soak.py looks closer."""
    (engine,) = engines_below(psutil.Process())
    processes = [engine, engine.parent()]
    before: list[tuple[int, int]] = []
    async with asking(teacher_url, TOKEN) as teacher:
        for number in range(400):
            await teacher.distill(distill(SCORE, WRITE))
            if number == 100:
                before = [_size(process) for process in processes]
    for (descriptors, memory), process in zip(before, processes, strict=True):
        now = _size(process)
        assert now[0] - descriptors <= 5, process
        assert now[1] - memory < 20 * 2**20, process


def _size(process: psutil.Process) -> tuple[int, int]:
    """Open file descriptors, and bytes of memory."""
    return process.num_fds(), process.memory_info().rss


async def test_a_dead_engine_is_noticed_and_its_replica_replaced(teacher_url: str):
    """Only the engine's process is killed while a long answer is being written."""
    options = GenerateOptions(max_tokens=3900, temperature=0, stop_token_ids=[])
    long = distill(*(WRITE.model_copy(update={"id": str(number), "generate": options}) for number in range(8)))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with asking(teacher_url, TOKEN, attempts=12) as teacher, asyncio.timeout(100):
        (before,) = await teacher.distill(distill(SCORE))
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            body = long.model_dump_json(exclude_none=True)
            async with http.stream("POST", teacher_url + "/v1/distill", content=body) as response:
                assert response.status_code == 200
                (engine,) = engines_below(psutil.Process())
                engine.kill()
                with pytest.raises(wire.WireError, match="cut off"):
                    list(wire.decode(await response.aread()))
            short = distill(SCORE).model_dump_json(exclude_none=True)
            refused = await http.post(teacher_url + "/v1/distill", content=short)
            unhealthy = await http.get(teacher_url + "/healthz")
        (after,) = await teacher.distill(distill(SCORE))
    for response in (refused, unhealthy):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
        assert response.headers["Retry-After"] == "1"
    assert after.topk_ids.tolist() == before.topk_ids.tolist()
    assert np.abs(after.token_logprobs - before.token_logprobs).max() < 1e-5
    assert [process.pid for process in engines_below(psutil.Process())] != [engine.pid]
