"""Bodies and headers that no client of ours sends: each is refused in words, and the next good request succeeds."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from common import wire
from common.api import MAX_SEQUENCES
from teacher_server.http import json_body
from teacher_server.http.json_body import JsonRequest, max_body_bytes
from teacher_server.settings import LimitSettings
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.asking import SCORE, WRITE, body, connect, error_of, make_app

pytestmark = pytest.mark.anyio

LIMITS = {"max_body_bytes": 5_000, "max_request_tokens": 100, "max_request_entries": 300}
JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(body(SCORE)).encode()


@pytest.fixture(scope="module")
def http() -> httpx.AsyncClient:
    """One application for the whole list: what one entry spoils, the next one's good request shows."""
    return connect(make_app(StandInEngine(), **LIMITS))


def score(**fields: Any) -> bytes:
    return json.dumps(body(SCORE | fields)).encode()


def write(options: str) -> bytes:
    return json.dumps(body(WRITE)).replace('"max_tokens": 5', f'"max_tokens": 5, {options}').encode()


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        pytest.param(GOOD + b" " * 5_000, JSON, 413, "at most 5000", id="oversized"),
        pytest.param(
            GOOD, JSON | {"Content-Length": "99999999999"}, 413, "99999999999 bytes", id="said to be oversized"
        ),
        pytest.param(GOOD, JSON | {"Content-Length": "-1"}, 400, "Content-Length", id="negative length"),
        pytest.param(GOOD, JSON | {"Content-Length": str(len(GOOD) + 9)}, 400, "whole body", id="shorter than said"),
        pytest.param(GOOD[:-9], JSON, 400, "brackets", id="truncated"),
        pytest.param(GOOD[:-1].rstrip(b"]") + b"]}x", JSON, 400, "JSON", id="text behind"),
        pytest.param(b"[" * 2_000 + b"]" * 2_000, JSON, 400, "deeper than 20", id="deep"),
        pytest.param(b'{"a":' * 700 + b"1" + b"}" * 700, JSON, 400, "deeper than 20", id="deep objects"),
        pytest.param(b"[" * 4_000, JSON, 400, "deeper than 20", id="never closed"),
        pytest.param(b'{"a": "\\"[[', JSON, 400, "JSON", id="open string"),
        pytest.param(json.dumps(body(SCORE)).encode("utf-16"), JSON, 400, "JSON", id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, JSON, 400, "JSON", id="byte order mark"),
        pytest.param(GOOD, {"Content-Type": "text/plain"}, 415, "text/plain", id="wrong content type"),
        pytest.param(GOOD, {"Content-Type": "application/json+x"}, 415, "json+x", id="another content type"),
        pytest.param(GOOD, {"Content-Type": "application/json; charset=latin-1"}, 415, "UTF-8", id="charset"),
        pytest.param(GOOD, {}, 415, "none", id="no content type"),
        pytest.param(GOOD, JSON | {"Content-Encoding": "gzip"}, 415, "compressed", id="compressed"),
        pytest.param(GOOD, JSON | {"Host": "a b"}, 400, "'a b'", id="wrong host"),
        pytest.param(b"", JSON, 422, "'body' is required", id="empty"),
        pytest.param(b"null", JSON, 422, "body", id="null"),
        pytest.param(b'"x"', JSON, 422, "the body", id="a string"),
        pytest.param(json.dumps(body(SCORE, top_k=-1)).encode(), JSON, 422, "top_k", id="negative k"),
        pytest.param(json.dumps(body(SCORE, top_k=9)).encode(), JSON, 422, "at most 8", id="k above this teacher's"),
        pytest.param(json.dumps(body(SCORE, top_k=10**30)).encode(), JSON, 422, "top_k", id="k above all bounds"),
        pytest.param(json.dumps(body(SCORE, top_k=True)).encode(), JSON, 422, "top_k", id="boolean k"),
        pytest.param(json.dumps(body(SCORE, top_k=4.0)).encode(), JSON, 422, "top_k", id="float k"),
        pytest.param(json.dumps(body(SCORE, top_k="4")).encode(), JSON, 422, "top_k", id="string k"),
        pytest.param(write('"temperature": NaN'), JSON, 400, "NaN", id="NaN temperature"),
        pytest.param(write('"top_p": -Infinity'), JSON, 400, "NaN or Infinity", id="infinite top_p"),
        pytest.param(write('"top_p": 1e999'), JSON, 422, "top_p", id="overflowing top_p"),
        pytest.param(write(f'"seed": {10**30}'), JSON, 422, "seed", id="huge seed"),
        pytest.param(write(f'"seed": {"9" * 4_500}'), JSON, 400, "JSON", id="seed of 4,500 digits"),
        pytest.param(write('"seed": 1.5'), JSON, 422, "seed", id="float seed"),
        pytest.param(score(prompt_token_ids=[-1]), JSON, 422, "prompt_token_ids.0", id="negative token"),
        pytest.param(score(prompt_token_ids=[2**31]), JSON, 422, "prompt_token_ids.0", id="token beyond int32"),
        pytest.param(score(prompt_token_ids=[10**40]), JSON, 422, "prompt_token_ids.0", id="huge token"),
        pytest.param(score(prompt_token_ids=[3, True]), JSON, 422, "prompt_token_ids.1", id="boolean token"),
        pytest.param(score(prompt_token_ids=[3.0]), JSON, 422, "prompt_token_ids.0", id="float token"),
        pytest.param(score(prompt_token_ids=["3"]), JSON, 422, "prompt_token_ids.0", id="string token"),
        pytest.param(score(prompt_token_ids={"0": 3}), JSON, 422, "prompt_token_ids", id="tokens as an object"),
        pytest.param(score(prompt_token_ids=[3] * 98), JSON, 422, "at most 100", id="too many tokens"),
        pytest.param(score(completion_token_ids=[3] * 80), JSON, 422, "320 logprobs", id="too many logprobs"),
        pytest.param(score(id=None), JSON, 422, "sequences.0.id", id="no id"),
        pytest.param(score(id="x" * 513), JSON, 422, "sequences.0.id", id="long id"),
        pytest.param(score(id="\ud800"), JSON, 400, "JSON", id="lone surrogate"),
        pytest.param(GOOD.replace(b'"id": "s"', b'"id": "\n"'), JSON, 400, "JSON", id="bare control character"),
        pytest.param(json.dumps(body(SCORE, SCORE)).encode(), JSON, 422, "different ids", id="duplicated ids"),
        pytest.param(score(a=1, b="NaN [[", sort=[]), JSON, 422, "'sequences.0.sort'", id="unknown fields"),
        pytest.param(score(**{"\x1b[2J": 1}), JSON, 422, "unknown field", id="unknown control characters"),
        pytest.param(score(**{f"f{n}": n for n in range(99)}), JSON, 422, "and 79 more", id="99 unknown fields"),
    ],
)
async def test_what_is_malformed_is_refused_and_the_next_request_succeeds(
    http: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, message: str
):
    response = await http.post("/v1/distill", content=content, headers=headers)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (status, "invalid_request_error")
    assert message in error["message"]
    assert len(response.content) < 2_000
    good = await http.post("/v1/distill", content=GOOD, headers=JSON)
    assert [answer.error for answer in wire.decode(good.content)] == [None]


@pytest.mark.parametrize("id", ["\x00", "\r\nX: y", "\x1b[2J", "\u202e", "𝔘" * 100, '"[[{"', "\\", ""])
async def test_odd_ids_come_back_as_they_were(http: httpx.AsyncClient, id: str):
    for separators in ((", ", ": "), (",", ":")):
        content = json.dumps(body(SCORE | {"id": id, "prompt_token_ids": [32]}), separators=separators).encode()
        (answer,) = wire.decode((await http.post("/v1/distill", content=content, headers=JSON)).content)
        assert (answer.id, "vocabulary has 32" in str(answer.error)) == (id, True)


async def test_a_body_without_a_length_is_counted_as_it_comes(http: httpx.AsyncClient):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000
            yield b" " * 1_000

    response = await http.post("/v1/distill", content=endless(), headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
    assert sent <= 7_000


async def test_a_body_that_never_comes_is_given_up(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_body, "BODY_TIMEOUT_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await http.post("/v1/distill", content=stuck(), headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (408, "request_timeout")


async def test_the_largest_legal_request_fits():
    per_sequence = LimitSettings().max_request_tokens // MAX_SEQUENCES
    widest = [
        {
            "id": f"{number:03}".rjust(512, "\U0001f600"),
            "prompt_token_ids": [2**31 - 1] * (per_sequence - 1),
            "completion_token_ids": [2**31 - 1],
        }
        for number in range(MAX_SEQUENCES)
    ]
    content = json.dumps(body(*widest)).encode()
    assert len(content) < max_body_bytes(LimitSettings())
    async with connect(make_app(StandInEngine())) as http:
        response = await http.post("/v1/distill", content=content, headers=JSON)
    assert response.status_code == 200
    assert sum("at most 64 together" in str(answer.error) for answer in wire.decode(response.content)) == MAX_SEQUENCES


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(dict.fromkeys(map(str, range(17_000)), 1)).encode(),
        b"[" + b"[]," * 9_000 + b"[]]",
        b'{"sequences": [' + b"{}," * 9_000 + b"{}]}",
    ],
)
async def test_what_would_become_many_objects_is_refused_before_it_does(content: bytes):
    async with connect(make_app(StandInEngine())) as http:
        response = await http.post("/v1/distill", content=content, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_json")
    assert "expected at most 16384" in error_of(response)["message"]


async def test_json_is_parsed_as_the_standard_library_does():
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": GOOD}

    assert await JsonRequest({"type": "http", "headers": []}, receive).json() == json.loads(GOOD)
