"""Two teachers and a router on real Ray Serve, with stand-in engines: streams, a disconnect, a lost teacher."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence

import httpx
import pytest
from ray import serve

from common import wire
from teacher_server.engine.protocol import Engine
from teacher_server.router import app
from teacher_server.settings import TeacherServerSettings
from tests.serving import application, ray_serve
from tests.unit.teacher_server.asking import SCORE, WRITE, body, error_of
from tests.unit.teacher_server.router.test_router import NamedEngine

pytestmark = pytest.mark.anyio
TOKEN = secrets.token_hex(16)
HELD = SCORE | {"id": "held", "prompt_token_ids": [2]}


class HoldingEngine(NamedEngine):
    """Never answers the prompt [2]."""

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        self.gate = asyncio.Event() if list(prompt) == [2] else None
        await super()._work(model, task, top_k, prompt)


def make_engine(settings: TeacherServerSettings) -> Engine:
    return HoldingEngine(settings.name)


@pytest.fixture(scope="module")
def router_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    token_file = tmp_path_factory.mktemp("router") / "token"
    token_file.write_text(TOKEN)
    few = {"limits": {"max_requests": 1}, "replicas": {"pool": None, "num_cpus": 0.1}}
    with ray_serve() as address:
        for name in ("large", "small"):
            teacher = application(make_engine, name=name, token_file=str(token_file), **few)
            serve.run(teacher, name=name, route_prefix=f"/{name}")
        router = app.build({"applications": ["large", "small"], "token_file": str(token_file), "pool": None})
        serve.run(router, name="router", route_prefix="/all")
        yield f"{address}/all"


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
