"""The layers around the routes: who gets in, what is written down, whose share is used up, which headers fit."""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from teacher_server.http import access_log
from teacher_server.settings import LimitSettings
from tests.service import make_service
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.asking import SCORE, TOKEN, body, connect, error_of, make_app, until

pytestmark = pytest.mark.anyio

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
LINE = r"client=(\S+) method=(\S+) path=(\S+) status=(\d+) ms=\d+\.\d bytes=(\d+) sequences=(\S+) code=(\S+)"


class Kept(logging.Handler):
    """Keeps the lines that are logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The access log's lines, as they are written."""
    logger, lines = logging.Logger("alone", logging.INFO), list[str]()
    logger.addHandler(Kept(lines))
    monkeypatch.setattr(access_log, "logger", logger)
    return lines


def fields(line: str) -> tuple[str, ...]:
    match = re.fullmatch(LINE, line)
    assert match, line
    return match.groups()


def routes_under(routes: Iterable[BaseRoute], prefix: str = "") -> Iterable[str]:
    """The paths of all routes, those of mounted and included applications too, with something for each parameter."""
    for route in routes:
        path = prefix + re.sub(r"{[^}]*}", "x", getattr(route, "path", ""))
        yield from routes_under(getattr(route, "routes", None) or [], path)
        yield path


async def test_no_route_answers_without_a_token_those_added_later_neither():
    app = make_app(StandInEngine())
    later = APIRouter()
    later.add_api_route("/v1/later/{name}", lambda name: name, methods=["PUT"])
    app.include_router(later)
    app.mount("/mounted", FastAPI())
    paths = {path for path in routes_under(app.routes) if path} - {"/healthz"}
    assert {"/v1/teacher", "/v1/distill", "/openapi.json", "/v1/later/x", "/mounted/docs"} <= paths
    for token in (None, "wrong", "", TOKEN + "x", TOKEN[:-1]):
        async with connect(app, token) as http:
            for path in [*sorted(paths), "/", "/docs", "/v2", "/healthz/", "//healthz", "/healthz%2f", "/HEALTHZ"]:
                for method in METHODS:
                    response = await http.request(method, path)
                    assert response.status_code == 401, f"{method} {path} with {token!r}"
                    assert response.headers["WWW-Authenticate"] == "Bearer"
            assert error_of(await http.get("/v2"))["code"] == "invalid_token"
            assert (await http.get("/healthz")).status_code == 200
    async with connect(app) as http:
        statuses = {path: (await http.get(path)).status_code for path in paths}
    assert 401 not in statuses.values()


async def test_the_log_has_one_line_per_request_with_the_clients_name(lines: list[str]):
    app = make_service(StandInEngine(), keys={"trainer": "first", "judge": "second"})
    async with connect(app, "first") as http:
        answer = await http.post("/v1/distill", json=body(SCORE, SCORE | {"id": "t"}))
    async with connect(app, "second") as http:
        await http.get("/v1/teacher?api_key=secret")
        await http.post("/v1/distill", json=body(SCORE, model="nobody"))
    async with connect(app, "third") as http:
        refused = await http.get("/v1/teacher")
    assert [fields(line)[:4] for line in lines] == [
        ("trainer", "POST", "/v1/distill", "200"),
        ("judge", "GET", "/v1/teacher", "200"),
        ("judge", "POST", "/v1/distill", "404"),
        ("-", "GET", "/v1/teacher", "401"),
    ]
    assert fields(lines[0])[4:] == (str(len(answer.content)), "2", "-")
    assert fields(lines[3])[4:] == (str(len(refused.content)), "-", "invalid_token")
    assert not re.search("first|second|third|secret", "".join(lines))


async def test_no_client_can_forge_a_line(lines: list[str]):
    async with connect(make_app(StandInEngine())) as http:
        for path in ("/a%0Aclient=root%20status=200", "/%1b[2J%e2%80%a8", "/" + "x" * 3000):
            await http.get(path)
        await http.request("GET\tclient=root", "/v1/teacher")
        await http.post("/v1/distill", json=body(SCORE | {"id": "\nclient=root"}))
    assert [fields(line)[:2] for line in lines] == [("default", "GET")] * 3 + [
        ("default", "OTHER"),
        ("default", "POST"),
    ]
    assert max(map(len, lines)) < 900
    assert all(line.isascii() and line.isprintable() for line in lines)


async def test_a_stream_is_logged_when_it_ends_and_a_client_that_left_as_499(lines: list[str]):
    engine = StandInEngine(asyncio.Event())
    async with connect(make_app(engine)) as http:
        leaving = asyncio.create_task(http.post("/v1/distill", json=body(SCORE)))
        await until(lambda: engine.working == 1)
        assert not lines
        leaving.cancel()
        await until(lambda: lines)
    assert fields(lines[0])[3] == "499"


async def test_a_failure_of_ours_is_logged_as_500(lines: list[str]):
    app = make_app(StandInEngine())
    app.add_api_route("/fails", lambda: 1 / 0)
    async with connect(app) as http:
        response = await http.get("/fails")
    assert (response.status_code, error_of(response)["code"], fields(lines[0])[3]) == (500, "internal_error", "500")


def test_replicas_show_the_log_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access_log, "logger", logging.Logger("alone"))
    access_log.log_to_stderr()
    access_log.log_to_stderr()
    access_log.write_line(access_log.Access("c", "GET", "/", "/", 200, 1.0, 2, None, None))
    assert capsys.readouterr().err.count("access client=c method=GET path=/ status=200 ms=1.0 bytes=2") == 1


async def test_a_client_keeps_to_its_share_and_leaves_the_others_theirs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("teacher_server.serve.api.HEALTHZ_PATIENCE_S", 0.05)
    engine = StandInEngine(asyncio.Event())
    limits = LimitSettings(max_requests_per_client=1, retry_after_s=7)
    app = make_service(engine, limits, {"a": "first", "b": "second"})
    async with connect(app, "first") as greedy, connect(app, "second") as other:
        taken = asyncio.create_task(greedy.post("/v1/distill", json=body(SCORE)))
        await until(lambda: engine.working == 1)
        refused = await greedy.get("/v1/teacher")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
        assert error_of(refused)["code"] == "rate_limited"
        assert (await other.get("/v1/teacher")).status_code == 200
        assert error_of(await greedy.get("/healthz"))["code"] == "engine_unavailable"  # held, not limited
        assert engine.gate is not None
        engine.gate.set()
        assert (await taken).status_code == 200
        assert (await greedy.get("/v1/teacher")).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("teacher.example:8000", 200),
        ("TEACHER.example", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("teacher.example.evil", 421),
        ("teacher.example:80x", 400),
        ("teacher.example/@evil", 400),
        ("", 400),
    ],
)
async def test_only_configured_hosts_are_answered(host: str, status: int):
    app = make_service(StandInEngine(), LimitSettings(allowed_hosts=("teacher.example", "[::1]")))
    async with connect(app) as http:
        response = await http.get("/v1/teacher", headers={"Host": host})
        assert response.status_code == status
        assert status == 200 or error_of(response)["code"] in ("unknown_host", "invalid_host")
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/teacher", {"X-Long": "x" * 17_000}, 431),
        ("/v1/teacher?" + "x" * 5_000, {}, 414),
    ],
)
async def test_long_headers_and_targets_are_refused(path: str, headers: dict[str, str], status: int):
    async with connect(make_app(StandInEngine())) as http:
        response: httpx.Response = await http.get(path, headers=headers)
    assert response.status_code == status
    error: dict[str, Any] = error_of(response)
    assert "expected" in error["message"]


async def test_a_strangers_body_is_not_waited_for():
    async def never() -> Any:
        raise AssertionError("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": []}
    await make_app(StandInEngine())(scope, never, send)
    assert sent[0]["status"] == 200
