"""What a replica counts, by requests around a stand-in engine; and that a closing replica refuses and waits."""

import asyncio

import httpx
import pytest

from teacher_server.engine.metrics import METRICS, DeltaCounter
from teacher_server.http.access_log import CLIENT_WENT_AWAY
from teacher_server.http.admission import Admission
from teacher_server.settings import LimitSettings
from tests.service import MemoryRecorder, make_service
from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.asking import SCORE, WRITE, body, connect

pytestmark = pytest.mark.anyio


class Replica:
    """An application with what counts in it."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.engine = StandInEngine(gate)
        self.recorder = MemoryRecorder()
        self.admission = Admission(LimitSettings(max_requests=1))
        app = make_service(self.engine, admission=self.admission, recorder=self.recorder)
        self.http = connect(app)
        self.stranger = connect(app, token=None)

    def value(self, *key: str) -> float:
        return self.recorder.values.get(key, 0)

    async def start(self, *sequences: dict) -> "asyncio.Task[httpx.Response]":
        """A request that the engine holds back."""
        asking = asyncio.create_task(self.http.post("/v1/distill", json=body(*sequences)))
        async with asyncio.timeout(5):
            while not self.engine.working:
                await asyncio.sleep(0.001)
        return asking


async def test_rows_positions_and_bytes_are_counted_by_model_and_outcome():
    replica = Replica()
    bad = SCORE | {"id": "bad", "prompt_token_ids": []}
    answer = await replica.http.post("/v1/distill", json=body(SCORE, WRITE, bad, model="expert"))
    written = "stop" if replica.value("teacher_sequences", "expert", "stop") else "length"
    for outcome in ("scored", written, "failed"):
        assert replica.value("teacher_sequences", "expert", outcome) == 1
    assert replica.value("teacher_positions", "expert", "scored") == 3
    assert replica.value("teacher_positions", "expert", written) > 0
    assert replica.value("teacher_bytes_sent", "default", "/v1/distill") == len(answer.content)
    assert 0 < replica.value("teacher_first_row_seconds", "expert") < 5


async def test_requests_are_counted_by_status_and_refusals_by_reason():
    replica = Replica(asyncio.Event())
    assert (await replica.stranger.get("/v1/secret")).status_code == 401
    assert (await replica.http.get("/v1/nothing")).status_code == 404
    assert (await replica.http.post("/v1/distill", json={})).status_code == 422
    taken = await replica.start(SCORE)
    assert (await replica.http.post("/v1/distill", json=body(SCORE))).status_code == 503
    await replica.engine.kill()
    assert (await taken).status_code == 200
    assert replica.value("teacher_streams_cut", "teacher") == 1
    requests = {key[2:]: value for key, value in replica.recorder.values.items() if key[0] == "teacher_requests"}
    assert requests == {
        ("other", "401"): 1, ("other", "404"): 1,
        ("/v1/distill", "422"): 1, ("/v1/distill", "503"): 1, ("/v1/distill", "200"): 1,
    }  # fmt: skip
    assert replica.value("teacher_refused", "-", "invalid_token") == 1
    for reason in ("not_found", "missing_field", "overloaded"):
        assert replica.value("teacher_refused", "default", reason) == 1, reason


async def test_a_bug_is_counted_as_one(monkeypatch: pytest.MonkeyPatch):
    replica = Replica()
    monkeypatch.setattr(replica.engine, "describe", lambda: 1 / 0)
    assert (await replica.http.get("/v1/teacher")).status_code == 500
    assert replica.value("teacher_requests", "default", "/v1/teacher", "500") == 1
    assert replica.value("teacher_refused", "default", "internal_error") == 1


async def test_a_client_that_leaves_is_counted():
    replica = Replica(asyncio.Event())
    taken = await replica.start(SCORE)
    leaving = asyncio.create_task(replica.http.get("/healthz"))
    await asyncio.sleep(0.01)  # it waits for the engine now
    for task in (leaving, taken):
        task.cancel()
    await asyncio.gather(leaving, taken, return_exceptions=True)
    for client, path in (("-", "/healthz"), ("default", "/v1/distill")):
        assert replica.value("teacher_requests", client, path, str(CLIENT_WENT_AWAY)) == 1, path


async def test_a_closing_replica_refuses_new_requests_and_waits_for_the_others():
    gate = asyncio.Event()
    replica = Replica(gate)
    taken = await replica.start(SCORE)
    assert replica.admission.in_progress == (1, 1)
    closing = asyncio.create_task(replica.admission.close(30))
    await asyncio.sleep(0)
    refused = await replica.http.post("/v1/distill", json=body(SCORE))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["error"]["code"] == "shutting_down"
    assert not closing.done()
    gate.set()
    assert (await taken).status_code == 200
    await asyncio.wait_for(closing, 5)
    assert replica.admission.in_progress == (0, 0)


async def test_closing_does_not_wait_for_ever():
    replica = Replica(asyncio.Event())
    taken = await replica.start(SCORE)
    await asyncio.wait_for(replica.admission.close(0.01), 5)
    assert not taken.done()
    taken.cancel()


def test_the_engines_totals_become_growth():
    recorder = MemoryRecorder()
    counters = DeltaCounter(recorder)
    for steps in (3, 3, 10):
        counters.look({"steps": steps})
    assert recorder.values == {("teacher_engine_steps",): 10}


def test_every_metric_is_described_and_namespaced():
    for name, metric in METRICS.items():
        assert name.startswith("teacher_")
        assert metric.description.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.boundaries)
