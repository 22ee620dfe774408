"""Two teachers and a router on real Ray Serve, with stand-in engines: streams, a disconnect, a lost teacher."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve

from common import wire
from teacher_server import router_app
from teacher_server.app import deployment_options
from teacher_server.deployment import TeacherReplica
from teacher_server.engine import Engine
from teacher_server.settings import TeacherSettings
from tests.cluster.test_teacher_serve import ROOT, free_port
from tests.unit.teacher_server.test_router import NamedEngine
from tests.unit.teacher_server.test_routes import SCORE, WRITE, body, error_of

pytestmark = pytest.mark.anyio
TOKEN = secrets.token_hex(16)
HELD = SCORE | {"id": "held", "prompt_token_ids": [2]}


class HoldingEngine(NamedEngine):
    """Never answers the prompt [2]."""

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        self.gate = asyncio.Event() if list(prompt) == [2] else None
        await super()._work(model, task, top_k, prompt)


def make_engine(settings: TeacherSettings) -> Engine:
    return HoldingEngine(settings.name)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def router_url() -> Iterator[str]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="kd", dir="/tmp") as folder:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        (Path(folder) / "token").write_text(TOKEN)
        try:
            ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder)
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            for name in ("large", "small"):
                settings = TeacherSettings.model_validate({
                    "model": "none", "name": name, "token_file": f"{folder}/token", "limits": {"max_requests": 1},
                    "replicas": {"pool": None, "num_cpus": 0.1},
                })  # fmt: skip
                teacher = serve.deployment(**deployment_options(settings))(TeacherReplica).bind(settings, make_engine)
                serve.run(teacher, name=name, route_prefix=f"/{name}")
            router = router_app.build({"applications": ["large", "small"], "pool": None})
            serve.run(router, name="router", route_prefix="/all")
            yield f"http://127.0.0.1:{port}/all"
        finally:
            serve.shutdown()
            ray.shutdown()


async def test_one_address_for_two_teachers(router_url: str):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers, timeout=20) as http:

        async def ask(model: str) -> httpx.Response:
            return await http.post(router_url + "/v1/distill", json=body(SCORE, WRITE, model=model))

        assert (await http.get(router_url + "/healthz", headers={"Authorization": ""})).status_code == 200
        assert (await http.get(router_url + "/v1/teacher", headers={"Authorization": ""})).status_code == 401
        for model in ("large", "small"):
            assert {answer.revision for answer in wire.decode((await ask(model)).content)} == {f"{model}-0"}
        held = body(HELD, WRITE, model="small")
        async with http.stream("POST", router_url + "/v1/distill", json=held) as response:
            parts = response.aiter_bytes()
            assert await anext(parts)  # what is written comes while the other is held
            refused = await ask("small")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert error_of(refused)["code"] == "overloaded"
            assert (await ask("large")).status_code == 200
        async with asyncio.timeout(20):
            while (await ask("small")).status_code != 200:
                await asyncio.sleep(0.05)  # until the disconnect has reached the engine
        serve.delete("small")
        lost = await ask("small")
        assert (lost.status_code, error_of(lost)["code"]) == (503, "unavailable")
