"""The HTTP API around a stand-in engine: answers, refusals and their shape, overload, disconnects."""

import asyncio
import re
from typing import Any

import httpx
import numpy as np
import pytest

from common import wire
from common.api import TeacherCard
from tests.stand_in_engine import REFUSED_TOKEN, StandInEngine
from tests.stand_in_tokenizer import make_tokenizer
from tests.unit.teacher_server.asking import SCORE, WRITE, body, connect, error_of, make_app, post, until

pytestmark = pytest.mark.anyio


async def test_the_card_is_the_engines(http: httpx.AsyncClient, engine: StandInEngine):
    response = await http.get("/v1/teacher")
    assert TeacherCard.model_validate_json(response.content) == engine.describe()


async def test_scores_and_writes_in_one_request(http: httpx.AsyncClient, engine: StandInEngine):
    response = await http.post("/v1/distill", json=body(SCORE, WRITE, model="expert", logprob_dtype="float32"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    answers = {answer.id: answer for answer in wire.decode(response.content)}
    scored, written = answers["s"], answers["w"]
    assert (scored.model, scored.revision, scored.finish_reason) == ("expert", "r0+r1", "scored")
    assert scored.token_ids.tolist() == [5, 6, 7]
    assert scored.topk_logprobs.dtype == np.float32
    assert written.finish_reason in ("stop", "length")
    assert written.token_ids.tolist() == written.topk_ids[:, 0].tolist()
    assert sorted(engine.asked) == [("expert", "generate", 4), ("expert", "score", 4)]


async def test_a_stop_token_ends_the_completion_and_is_part_of_it(http: httpx.AsyncClient):
    written = await _one_answer(http, WRITE)
    stop = int(written.token_ids[1])
    options = {"max_tokens": 5, "temperature": 0, "stop_token_ids": [stop]}
    stopped = await _one_answer(http, WRITE | {"generate": options})
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids.tolist() == written.token_ids[:2].tolist()


async def test_a_stop_string_ends_the_completion_with_the_token_that_completes_it(http: httpx.AsyncClient):
    options = {"max_tokens": 40, "temperature": 1.5, "seed": 30}
    written = await _one_answer(http, WRITE | {"generate": options})
    text = make_tokenizer().decode(written.token_ids)
    stop = text[5:7]
    stopped = await _one_answer(http, WRITE | {"generate": options | {"stop": ["never", stop]}})
    ids = stopped.token_ids.tolist()
    assert (stopped.finish_reason, ids) == ("stop", written.token_ids[: len(ids)].tolist())
    assert stop in make_tokenizer().decode(ids)
    assert stop not in make_tokenizer().decode(ids[:-1])
    assert stopped.topk_ids.shape == (len(ids), 4)


async def test_samples_are_answers_of_their_own(http: httpx.AsyncClient):
    options = {"max_tokens": 20, "temperature": 1.5, "seed": 3}
    response = await http.post("/v1/distill", json=body(SCORE, WRITE | {"generate": options | {"n": 3}}))
    answers = {answer.id: answer for answer in wire.decode(response.content)}
    assert answers.keys() == {"s", "w/0", "w/1", "w/2"}
    for number in range(3):
        alone = await _one_answer(http, WRITE | {"generate": options | {"seed": 3 + number}})
        assert answers[f"w/{number}"].token_ids.tolist() == alone.token_ids.tolist()
    assert len({tuple(answers[f"w/{number}"].token_ids.tolist()) for number in range(3)}) == 3


async def test_each_sample_of_a_bad_sequence_fails_alone(http: httpx.AsyncClient):
    bad = WRITE | {"id": "bad", "prompt_token_ids": [REFUSED_TOKEN], "generate": {"max_tokens": 2, "n": 2}}
    too_long = WRITE | {"id": "long", "generate": {"max_tokens": 63, "n": 2, "stop": ["x"]}}
    response = await http.post("/v1/distill", json=body(SCORE, bad, too_long))
    errors = {answer.id: answer.error for answer in wire.decode(response.content)}
    assert errors.pop("s") is None
    assert errors.keys() == {"bad/0", "bad/1", "long/0", "long/1"}
    assert all(errors.values())


@pytest.mark.parametrize(
    ("sequence", "complaint"),
    [
        (SCORE | {"prompt_token_ids": []}, "empty prompt"),
        (SCORE | {"completion_token_ids": []}, "empty completion"),
        (SCORE | {"prompt_token_ids": [3] * 62}, "62 prompt tokens and 3 for the completion.*at most 64"),
        (WRITE | {"prompt_token_ids": [3] * 60}, "60 prompt tokens and 5 for the completion"),
        (SCORE | {"completion_token_ids": [5, 32]}, "token id 32.*vocabulary has 32"),
        (WRITE | {"generate": {"max_tokens": 2, "stop_token_ids": [99]}}, "token id 99"),
        (SCORE | {"prompt_token_ids": [REFUSED_TOKEN]}, "refuses that token"),
    ],
)
async def test_a_bad_sequence_fails_alone(http: httpx.AsyncClient, sequence: dict[str, Any], complaint: str):
    response = await http.post("/v1/distill", json=body(sequence | {"id": "bad"}, SCORE))
    answers = {answer.id: answer for answer in wire.decode(response.content)}
    assert answers["s"].error is None
    assert len(answers["s"]) == 3
    assert len(answers["bad"]) == 0
    assert re.search(complaint, str(answers["bad"].error))


@pytest.mark.parametrize(
    ("request_body", "status", "param", "message"),
    [
        (body(SCORE, model="other"), 404, "model", "teacher, expert"),
        (body(SCORE, top_k=9), 422, "top_k", "at most 8"),
        (body(SCORE, SCORE), 422, "sequences", "2 with 1 different ids"),
        (body(SCORE | {"id": "w/0"}, WRITE | {"generate": {"max_tokens": 1, "n": 2}}), 422, "sequences", "3 with 2"),
        (body(SCORE, *[WRITE | {"generate": {"max_tokens": 1, "n": 128}}] * 2), 422, None, "257 answers"),
        (body(SCORE, temprature=1), 422, "temprature", "unknown field 'temprature'"),
        (body(SCORE | {"stop": "x"}), 422, "sequences.0.stop", "unknown field"),
        (body(SCORE, top_k=0), 422, "top_k", "greater than or equal to 1"),
        (body(), 422, "sequences", "at least 1 item"),
        (body(SCORE | WRITE), 422, "sequences.0", "exactly one"),
        ({"model": "teacher"}, 422, "top_k", "required and missing"),
        (body(WRITE | {"generate": {"max_tokens": 1, "temperature": -1}}), 422, None, "greater than or equal to 0"),
        (body(WRITE | {"generate": {"max_tokens": 1, "temperature": 2.1}}), 422, None, "less than or equal to 2"),
    ],
)
async def test_a_bad_request_is_refused_by_name(
    http: httpx.AsyncClient, request_body: dict[str, Any], status: int, param: str | None, message: str
):
    response = await http.post("/v1/distill", json=request_body)
    assert response.status_code == status
    error = error_of(response)
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"model": "teacher", "top_k": NaN}'])
async def test_a_body_that_is_no_request_is_refused(http: httpx.AsyncClient, content: bytes):
    response = await http.post("/v1/distill", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert error_of(response)["type"] == "invalid_request_error"


async def test_unknown_paths_and_methods_are_told_apart_once_authorised(http: httpx.AsyncClient):
    assert (await http.get("/docs")).status_code == 404
    assert error_of(await http.get("/v2"))["code"] == "not_found"
    assert error_of(await http.get("/v1/distill"))["code"] == "method_not_allowed"


async def test_overload_is_refused_and_ends_when_requests_do():
    gate = asyncio.Event()
    engine = StandInEngine(gate)
    async with connect(make_app(engine, max_requests=2, retry_after_s=3)) as http:
        taken = [asyncio.create_task(http.post("/v1/distill", json=body(SCORE))) for _ in range(2)]
        await until(lambda: engine.working == 2)
        refused = await http.post("/v1/distill", json=body(SCORE))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "3")
        assert error_of(refused)["code"] == "overloaded"
        gate.set()
        assert [(await task).status_code for task in taken] == [200, 200]
        assert (await http.post("/v1/distill", json=body(SCORE))).status_code == 200


async def test_too_many_sequences_are_overload_unless_they_come_alone():
    gate = asyncio.Event()
    engine = StandInEngine(gate)
    many = [SCORE | {"id": str(number)} for number in range(3)]
    async with connect(make_app(engine, max_sequences=2)) as http:
        alone = asyncio.create_task(http.post("/v1/distill", json=body(*many)))
        await until(lambda: engine.working == 3)
        assert (await http.post("/v1/distill", json=body(SCORE))).status_code == 503
        gate.set()
        assert (await alone).status_code == 200


async def test_too_many_tokens_are_overload_unless_they_come_alone():
    gate = asyncio.Event()
    engine = StandInEngine(gate)
    async with connect(make_app(engine, max_tokens=9)) as http:  # a request has 5
        alone = asyncio.create_task(http.post("/v1/distill", json=body(SCORE, SCORE | {"id": "t"})))
        await until(lambda: engine.working == 2)
        refused = await http.post("/v1/distill", json=body(SCORE))
        assert (refused.status_code, "2 sequences and 10 tokens" in refused.text) == (503, True)
        gate.set()
        assert (await alone).status_code == 200


async def test_samples_count_in_admission():
    gate = asyncio.Event()
    engine = StandInEngine(gate)
    samples = body(WRITE | {"generate": {"max_tokens": 2, "n": 2}})
    async with connect(make_app(engine, max_sequences=2)) as http:
        assert (await http.post("/v1/distill", json=samples)).status_code == 200
        held = asyncio.create_task(http.post("/v1/distill", json=body(SCORE)))
        await until(lambda: engine.working == 1)
        assert (await http.post("/v1/distill", json=samples)).status_code == 503
        assert (await http.post("/v1/distill", json=body(WRITE))).status_code == 200
        gate.set()
        assert (await held).status_code == 200


async def test_a_client_that_goes_away_cancels_its_sequences_and_frees_its_place():
    engine = StandInEngine(asyncio.Event())
    app = make_app(engine, max_requests=1)
    async with connect(app) as http:
        leaving = asyncio.create_task(http.post("/v1/distill", json=body(SCORE, SCORE | {"id": "t"})))
        await until(lambda: engine.working == 2)
        leaving.cancel()
        await until(lambda: engine.working == 0)
        assert engine.cancelled == 2
        engine.gate = None
        assert (await http.post("/v1/distill", json=body(SCORE))).status_code == 200


async def test_a_dead_engine_is_unhealthy_and_says_try_later(http: httpx.AsyncClient, engine: StandInEngine):
    assert (await http.get("/healthz")).status_code == 200
    engine.dead = True
    assert (await http.get("/healthz")).status_code == 503
    response = await http.post("/v1/distill", json=body(SCORE))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert error_of(response)["code"] == "engine_unavailable"


async def test_an_engine_that_dies_midway_leaves_a_stream_without_its_end():
    gate = asyncio.Event()
    engine = StandInEngine(gate)
    async with connect(make_app(engine)) as http:
        asking = asyncio.create_task(http.post("/v1/distill", json=body(SCORE)))
        await until(lambda: engine.working == 1)
        engine.dead = True
        gate.set()
        with pytest.raises(wire.WireError, match="cut off"):
            list(wire.decode((await asking).content))


async def test_each_sequence_is_sent_as_it_finishes():
    engine = StandInEngine(asyncio.Event())
    sent: list[bytes] = []
    asking = asyncio.create_task(post(make_app(engine), body(SCORE, WRITE), sent))
    await until(lambda: len(sent) == 2)
    assert engine.working == 1
    assert engine.gate is not None
    engine.gate.set()
    await asking
    assert [answer.id for answer in wire.decode(b"".join(sent))] == ["w", "s"]


async def _one_answer(http: httpx.AsyncClient, sequence: dict[str, Any]) -> wire.TeacherAnswer:
    response = await http.post("/v1/distill", json=body(sequence))
    (answer,) = wire.decode(response.content)
    return answer
