"""One address for two teachers: routed by model, answered as by the teacher itself, streams and disconnects too."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from common import wire
from common.api import ServedModel, TeacherCard
from common.errors import UserError
from teacher_server.http.api_keys import ApiKeys
from teacher_server.router import app
from teacher_server.router.router import Router
from teacher_server.serve.relay import ApplicationUnavailable, Ask, RelayedRequest, RelayedResponse, call
from teacher_server.settings import LimitSettings
from tests.service import KEYS
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.asking import SCORE, WRITE, body, connect, error_of, make_app, post, until

pytestmark = pytest.mark.anyio


class NamedEngine(StandInEngine):
    """A stand-in that serves its base alone, as `name`."""

    def __init__(self, name: str, gate: asyncio.Event | None = None) -> None:
        super().__init__(gate)
        self.models.base = ServedModel(name=name, adapter=False, revision=f"{name}-0")

    def describe(self) -> TeacherCard:
        return super().describe().model_copy(update={"models": self.models.served()})


@pytest.fixture
def engines() -> list[NamedEngine]:
    return [NamedEngine("large"), NamedEngine("small")]


def route(engines: list[NamedEngine], **more: Ask) -> Starlette:
    asks: dict[str, Ask] = {engine.models.base.name: partial(call, make_app(engine)) for engine in engines}
    return Router(asks | more).app(LimitSettings(max_body_bytes=10_000), ApiKeys(KEYS))


@pytest.fixture
async def http(engines: list[NamedEngine]) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(route(engines)) as client:
        yield client


async def test_the_model_chooses_the_teacher(http: httpx.AsyncClient, engines: list[NamedEngine]):
    for number, model in enumerate(("large", "small", "large")):
        response = await http.post("/v1/distill", json=body(SCORE, WRITE, model=model))
        direct = await connect(make_app(NamedEngine(model))).post("/v1/distill", json=body(SCORE, WRITE, model=model))
        assert response.headers["content-type"] == direct.headers["content-type"]
        got, expected = ({one.id: one for one in wire.decode(each.content)} for each in (response, direct))
        assert got.keys() == expected.keys()
        assert got["w"].token_ids.tolist() == expected["w"].token_ids.tolist()
        assert got["s"].revision == f"{model}-0", number
    assert [len(engine.asked) for engine in engines] == [4, 2]
    card = await http.get("/v1/teacher", params={"model": "small"})
    assert [model["name"] for model in card.json()["models"]] == ["small"]


async def test_refusals_come_back_as_they_are(http: httpx.AsyncClient, engines: list[NamedEngine]):
    for content, status, code in [
        (body(SCORE, model="nobody"), 404, "model_not_found"),
        (body(SCORE, model="small", top_k=9), 422, "invalid_value"),
        (body(SCORE, model=7), 422, "invalid_value"),
        ([], 422, "invalid_value"),
        (body(*[SCORE] * 500, model="small"), 413, "body_too_large"),
    ]:
        response = await http.post("/v1/distill", json=content)
        assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert (await http.get("/v2")).status_code == 404
    engines[1].dead = True
    response = await http.post("/v1/distill", json=body(SCORE, model="small"))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


async def test_a_stranger_is_refused_before_anything_is_read(engines: list[NamedEngine]):
    async with connect(route(engines), "wrong") as http:
        for method, path in [("GET", "/v1/teacher"), ("POST", "/v1/distill"), ("GET", "/docs"), ("DELETE", "/x")]:
            response = await http.request(method, path, json=body(SCORE, model="small"))
            assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert (await http.get("/healthz")).status_code == 200
    assert not any(engine.asked for engine in engines)


async def test_a_model_named_in_the_path_is_found(http: httpx.AsyncClient):
    for name in ("large", "small"):
        assert (await http.get(f"/v1/models/{name}")).json()["id"] == name
    assert (await http.get("/v1/models/nobody")).status_code == 404


async def test_models_of_every_teacher_are_listed_once(http: httpx.AsyncClient, engines: list[NamedEngine]):
    expected = dict.fromkeys(model.name for engine in engines for model in engine.describe().models)
    listed = (await http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == [*expected]


async def test_a_teacher_that_is_down_leaves_the_other(engines: list[NamedEngine]):
    async def down(request: RelayedRequest) -> RelayedResponse:
        raise ApplicationUnavailable("no replica")
        yield b""

    async with connect(route(engines[1:], large=down)) as http:
        response = await http.post("/v1/distill", json=body(SCORE, model="small"))
        assert response.status_code == 200
    async with connect(route([], large=down)) as http:
        response = await http.post("/v1/distill", json=body(SCORE, model="small"))
        assert (response.status_code, error_of(response)["code"]) == (503, "unavailable")


def test_the_routers_settings_are_checked():
    with pytest.raises(UserError, match=r"args of teacher_server.router.app:build: the key 'applications' is required"):
        app.build({})
    assert app.build({"applications": ["a"]})


async def test_parts_are_sent_as_they_come():
    engine = NamedEngine("large", asyncio.Event())
    sent: list[bytes] = []
    router: Any = route([engine])
    asking = asyncio.create_task(post(router, body(SCORE, WRITE, model="large"), sent))
    await until(lambda: len(sent) == 2)
    assert engine.working == 1
    assert engine.gate is not None
    engine.gate.set()
    await asking
    assert [answer.id for answer in wire.decode(b"".join(sent))] == ["w", "s"]


@pytest.mark.parametrize("sequences", [[SCORE], [SCORE, WRITE]], ids=["before it starts", "midway"])
async def test_a_client_that_goes_away_cancels_the_work(sequences: list[dict[str, Any]]):
    engine = NamedEngine("large", asyncio.Event())
    async with connect(route([engine])) as http:
        leaving = asyncio.create_task(http.post("/v1/distill", json=body(*sequences, model="large")))
        await until(lambda: engine.working == 1)
        leaving.cancel()
        await until(lambda: engine.cancelled == 1)


async def test_the_clients_host_reaches_the_teachers():
    app = make_app(NamedEngine("small"), allowed_hosts=("teacher",))
    router = Router({"large": partial(call, make_app(NamedEngine("large"))), "small": partial(call, app)})
    async with connect(router.app(LimitSettings(), ApiKeys(KEYS))) as http:
        for host, status in [("teacher", 200), ("other", 404)]:  # unknown there: the first application refuses it
            response = await http.post("/v1/distill", json=body(SCORE, model="small"), headers={"Host": host})
            router._served.clear()
            assert response.status_code == status
