"""Single calls of a teacher: their answers in order, and each failure by its kind and words."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest

from common import wire
from common.api import DistillRequest, DistillSequence, GenerateOptions, TeacherCard
from common.errors import UserError
from common.teacher_client.calls import TeacherCalls
from common.teacher_client.failures import BadAnswer, CallFailed, EngineDown, Overloaded, TeacherRefused, Unreachable
from common.teacher_client.settings import TOKEN_VARIABLE, read_token

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

    def client(self) -> TeacherCalls:
        return TeacherCalls("http://teacher/prefix/", "secret", transport=httpx.MockTransport(self))


def refusal(status: int, message: str = "because", **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"error": {"message": message}})


GOOD = httpx.Response(200, content=stream("b", "a"))


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


BUSY = {"Retry-After": "7"}
NO_ENGINE = httpx.Response(503, headers=BUSY, json={"error": {"message": "dead", "code": "engine_unavailable"}})


@pytest.mark.parametrize(
    ("met", "kind", "said"),
    [
        (refusal(500), CallFailed, "HTTP 500: because"),
        (refusal(408), CallFailed, "HTTP 408"),
        (refusal(503), CallFailed, "HTTP 503"),
        (httpx.Response(503, text="a proxy's\nown words"), CallFailed, "HTTP 503: a proxy's own words"),
        (httpx.Response(502, text="<html>bad gateway"), CallFailed, "HTTP 502: <html>bad gateway"),
        (refusal(429), Overloaded, "HTTP 429"),
        (refusal(503, **BUSY), Overloaded, "HTTP 503: because"),
        (NO_ENGINE, EngineDown, "HTTP 503: dead"),
        (httpx.ConnectError("refused"), Unreachable, "refused"),
        (httpx.ConnectTimeout(""), Unreachable, "ConnectTimeout"),
        (httpx.ReadTimeout(""), CallFailed, "ReadTimeout"),
        (httpx.DecodingError("no gzip"), CallFailed, "no gzip"),
        (httpx.RemoteProtocolError("peer closed connection"), CallFailed, "peer closed"),
        (httpx.Response(200, content=stream("a", "b")[:-8]), BadAnswer, "cut off in transit"),
        (httpx.Response(200, content=stream("a", "b")[:300]), BadAnswer, ""),
        (httpx.Response(200, content=b"no arrow"), BadAnswer, ""),
        (httpx.Response(200, content=stream("a")), BadAnswer, r"answers missing for \['b'\]"),
        (httpx.Response(200, content=stream("a", "b", "c")), BadAnswer, r"never asked for \['c'\]"),
        (httpx.Response(200, content=stream("a", "b", "a")), BadAnswer, "some came twice"),
    ],
)
async def test_a_call_fails_by_the_kind_of_what_it_met(met: httpx.Response | Exception, kind: type, said: str):
    teacher = Teacher(met, GOOD)
    async with teacher.client() as client:
        with pytest.raises(kind, match=said) as caught:
            await client.distill(REQUEST)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(teacher.requests) == 1


@pytest.mark.parametrize(("given", "kept"), [("7", 7), ("9999", 30), ("0", 0), ("soon", None), ("", None)])
async def test_what_the_teacher_says_of_waiting_is_kept_within_bounds(given: str, kept: float | None):
    async with Teacher(refusal(429, **{"Retry-After": given})).client() as client:
        with pytest.raises(Overloaded) as caught:
            await client.distill(REQUEST)
    assert caught.value.retry_after_s == kept


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
async def test_a_refused_request_is_said_in_the_teachers_words(status: int):
    async with Teacher(refusal(status, "top_k: got 9")).client() as client:
        with pytest.raises(TeacherRefused, match=rf"refused the request \({status}\): top_k: got 9") as caught:
            await client.distill(REQUEST)
    assert caught.value.status == status


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
        async with TeacherCalls("http://127.0.0.1:9", "secret") as client:
            with pytest.raises(Unreachable):
                await client.teacher()
    assert asked == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "", "ftp://x", "http://", "http://host:80a0"])
def test_an_address_that_is_none_is_said_at_once(url: str):
    with pytest.raises(UserError, match="expected one like http://"):
        TeacherCalls(url, "secret")


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
