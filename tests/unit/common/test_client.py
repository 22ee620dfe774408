"""The teacher's client: what it tries again, what it doesn't, and the words of its errors."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from common import wire
from common.api import DistillRequest, DistillSequence, GenerateOptions, TeacherCard
from common.client import (
    OVERLOAD_PATIENCE_S,
    TOKEN_VARIABLE,
    TeacherClient,
    TeacherRefused,
    TeacherUnavailable,
    read_token,
)
from common.errors import UserError

pytestmark = pytest.mark.anyio
REQUEST = DistillRequest(
    model="teacher",
    top_k=2,
    sequences=[DistillSequence(id=id, prompt_token_ids=[1], completion_token_ids=[2]) for id in ("a", "b")],
)
CARD = TeacherCard(
    models=[], tokenizer_fingerprint="f", chat_template_fingerprint=None, terminators={}, end_token_ids=[1],
    vocabulary_size=3, max_top_k=2, max_length=9, abilities=["score"], dtype="float32", versions={},
)  # fmt: skip


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client waited between attempts, without waiting; its clock counts those seconds alone."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: sum(waited)))
    return waited


def stream(*ids: str) -> bytes:
    one = np.zeros(1, np.float32)
    top = np.array([[2, 1]], np.int32)
    answers = [
        wire.TeacherAnswer(
            id, "teacher", "r", "scored", None, np.array([2], np.int32), one, top, one[None, [0, 0]], one
        )
        for id in ids
    ]
    return wire.encode(answers, top_k=2, dtype="float32")


class Teacher:
    """Answers with each of `answers` in turn, the last one for ever; an exception is raised instead."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, attempts: int = 4) -> TeacherClient:
        transport = httpx.MockTransport(self)
        return TeacherClient("http://teacher/prefix/", "secret", attempts=attempts, transport=transport)


def refusal(status: int, message: str = "because", **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"error": {"message": message}})


GOOD = httpx.Response(200, content=stream("b", "a"))
OVERLOAD = refusal(503, "too many requests", **{"Retry-After": "10"})


async def test_sends_the_request_and_puts_answers_in_its_order():
    teacher = Teacher(GOOD)
    async with teacher.client() as client:
        answers = await client.distill(REQUEST)
    assert [answer.id for answer in answers] == ["a", "b"]
    (request,) = teacher.requests
    assert (request.method, str(request.url)) == ("POST", "http://teacher/prefix/v1/distill")
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Content-Type"] == "application/json"
    assert DistillRequest.model_validate_json(request.content) == REQUEST


async def test_samples_come_in_order_too():
    writing = DistillSequence(id="w", prompt_token_ids=[1], generate=GenerateOptions(max_tokens=1, n=11))
    request = REQUEST.model_copy(update={"sequences": [*REQUEST.sequences, writing]})
    ids = ["a", "b", *(f"w/{number}" for number in range(11))]
    async with Teacher(httpx.Response(200, content=stream(*sorted(ids, reverse=True)))).client() as client:
        assert [answer.id for answer in await client.distill(request)] == ids


async def test_reads_the_card():
    teacher = Teacher(httpx.Response(200, content=CARD.model_dump_json()))
    async with teacher.client() as client:
        assert await client.teacher() == CARD


@pytest.mark.parametrize(
    "failure",
    [
        refusal(500),
        refusal(503),
        refusal(408),
        refusal(429),
        httpx.Response(502, text="<html>bad gateway"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.DecodingError("no gzip"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.Response(200, content=stream("a", "b")[:-8]),
        httpx.Response(200, content=stream("a", "b")[:300]),
        httpx.Response(200, content=b"no arrow"),
        httpx.Response(200, content=stream("a")),
        httpx.Response(200, content=stream("a", "b", "c")),
        httpx.Response(200, content=stream("a", "b", "a")),
    ],
)
async def test_tries_again_what_may_pass(waits: list[float], failure: httpx.Response | Exception):
    teacher = Teacher(failure, failure, GOOD)
    async with teacher.client() as client:
        assert len(await client.distill(REQUEST)) == 2
    assert len(teacher.requests) == 3
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 1.5


async def test_waits_as_long_as_the_teacher_says(waits: list[float]):
    teacher = Teacher(refusal(503, **{"Retry-After": "7"}), refusal(503, **{"Retry-After": "9999"}), GOOD)
    async with teacher.client() as client:
        await client.distill(REQUEST)
    assert 7 <= waits[0] <= 7 * 1.5
    assert 30 <= waits[1] <= 30 * 1.5


async def test_clients_refused_together_come_back_apart(waits: list[float]):
    broken = httpx.ConnectError("refused")
    teacher = Teacher(*[OVERLOAD] * 9, *[broken] * 9, GOOD)
    async with teacher.client(attempts=10) as client:
        await client.distill(REQUEST)
    assert len(set(waits)) == 18


async def test_a_teacher_that_says_come_back_at_once_is_not_asked_without_pause(waits: list[float]):
    async with Teacher(*[refusal(503, **{"Retry-After": "0"})] * 9, GOOD).client() as client:
        await client.distill(REQUEST)
    assert 0.5 <= waits[0] < waits[8]


async def test_overload_is_no_attempt(waits: list[float]):
    broken = httpx.ConnectError("refused")
    teacher = Teacher(broken, *[OVERLOAD] * 20, broken, *[OVERLOAD] * 20, GOOD)
    async with teacher.client(attempts=3) as client:
        assert len(await client.distill(REQUEST)) == 2
    assert len(teacher.requests) == 43
    assert 1 <= waits[21] <= 1.5  # after the second failure, however often the teacher was busy in between


async def test_overload_without_end_is_given_up(waits: list[float]):
    async with Teacher(OVERLOAD).client(attempts=1) as client:
        with pytest.raises(TeacherUnavailable, match="in 600 s of overload; the last: HTTP 503: too many requests"):
            await client.distill(REQUEST)
    assert OVERLOAD_PATIENCE_S <= sum(waits) <= OVERLOAD_PATIENCE_S + 10 * 1.5


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
async def test_a_refused_request_is_not_tried_again(waits: list[float], status: int):
    teacher = Teacher(refusal(status, "top_k: got 9"))
    async with teacher.client() as client:
        with pytest.raises(TeacherRefused, match=rf"refused the request \({status}\): top_k: got 9") as caught:
            await client.distill(REQUEST)
    assert caught.value.status == status
    assert len(teacher.requests) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (httpx.ConnectError("All connection attempts failed"), "All connection attempts failed"),
        (httpx.Response(200, content=stream("a", "b")[:-8]), "cut off in transit"),
        (httpx.Response(200, content=stream("a")), r"answers missing for \['b'\]"),
        (httpx.Response(503, text="a proxy's\nown words"), "HTTP 503: a proxy's own words"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
    ],
)
async def test_gives_up_with_one_line(waits: list[float], failure: httpx.Response | Exception, said: str):
    teacher = Teacher(failure)
    async with teacher.client(attempts=3) as client:
        with pytest.raises(
            TeacherUnavailable, match=f"http://teacher/prefix in 3 attempts; the last: .*{said}"
        ) as caught:
            await client.distill(REQUEST)
    assert "\n" not in str(caught.value)
    assert len(teacher.requests) == 3


async def test_another_service_is_not_taken_for_a_teacher():
    async with Teacher(httpx.Response(200, json={"status": "ok"})).client() as client:
        with pytest.raises(UserError, match="v1/teacher isn't a teacher this client knows: models"):
            await client.teacher()


async def test_the_token_goes_to_no_proxy(monkeypatch: pytest.MonkeyPatch):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    asked: list[bytes] = []
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("http_proxy", "http://{}:{}".format(*proxy.sockets[0].getsockname()))
        async with TeacherClient("http://127.0.0.1:9", "secret", attempts=1) as client:
            with pytest.raises(TeacherUnavailable):
                await client.teacher()
    assert asked == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "", "ftp://x", "http://", "http://host:80a0"])
def test_an_address_that_is_none_is_said_at_once(url: str):
    with pytest.raises(UserError, match="expected one like http://"):
        TeacherClient(url, "secret")


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "from-environment")
    (tmp_path / "token").write_text("from-file\n")
    assert read_token(tmp_path / "token") == "from-file"
    assert read_token(None) == "from-environment"
    for bad in ("", "  \n", "two words", "two\nlines", "naïve"):
        (tmp_path / "token").write_text(bad)
        with pytest.raises(UserError, match="holds no usable token"):
            read_token(tmp_path / "token")
    with pytest.raises(UserError, match="can't read the token file"):
        read_token(tmp_path / "nowhere")
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(UserError, match=TOKEN_VARIABLE):
        read_token(None)
