"""Replicas on real Ray Serve around a stand-in engine: drain, hung engines, metrics."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from cluster.local.nodes import SERVE_GUARD
from common.api import DistillRequest, DistillSequence
from common.errors import UserError
from common.teacher_client.failures import TeacherUnavailable
from common.teacher_client.settings import TOKEN_VARIABLE
from teacher_server.serve.app import deployment_options
from teacher_server.serve.replica import TeacherReplica
from teacher_server.settings import ReplicaSettings, TeacherServerSettings
from tests.asking import asking
from tests.serving import deploy, metrics_page, ray_serve
from tests.stand_in_engine import StandInEngine
from tests.waiting_engine import HANG_TOKEN, waiting_engine

pytestmark = pytest.mark.anyio
TOKEN = "a-token"
REPLICAS: dict[str, Any] = {
    "num_cpus": 0.1,
    "health_check_period_s": 0.5,
    "health_check_timeout_s": 1,
    "graceful_shutdown_timeout_s": 20,
}


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines write that they were closed."""
    return tmp_path_factory.mktemp("engines") / "diary"


@pytest.fixture(scope="module")
def url(diary: Path) -> Iterator[str]:
    with ray_serve(**{TOKEN_VARIABLE: TOKEN, "RAY_metrics_report_interval_ms": "500"}, **SERVE_GUARD) as address:
        deploy(waiting_engine(0.5, diary=diary), replicas=REPLICAS)
        yield address + "/teacher"


def ask(token: int = 3) -> DistillRequest:
    sequence = DistillSequence(id="s", prompt_token_ids=[token], completion_token_ids=[5, 6])
    return DistillRequest(model="teacher", top_k=4, sequences=[sequence])


async def answer(url: str, attempts: int, token: int = 3) -> list[int]:
    """The most likely token of each position, as a client with so many attempts gets them."""
    async with asking(url, TOKEN, attempts=attempts) as teacher:
        (record,) = await teacher.distill(ask(token))
    return record.topk_ids[:, 0].tolist()


@pytest.fixture
async def expected() -> list[int]:
    """What `answer` must be, from an engine outside Serve."""
    positions = await StandInEngine().score("teacher", [3], [5, 6], 4)
    return positions.topk_ids[:, 0].tolist()


async def test_ray_shows_what_was_counted(url: str, expected: list[int]):
    assert await answer(url, attempts=1) == expected
    async with httpx.AsyncClient() as http:
        assert (await http.get(url + "/v1/teacher")).status_code == 401
    wanted = {
        "teacher_sequences_total": {"model": "teacher", "outcome": "scored"},
        "teacher_positions_total": {"model": "teacher", "outcome": "scored"},
        "teacher_requests_total": {"path": "/v1/distill", "status": "200"},
        "teacher_refused_total": {"reason": "invalid_token"},
        "teacher_bytes_sent_total": {"path": "/v1/distill"},
        "teacher_first_row_seconds_count": {"model": "teacher"},
        "teacher_requests_in_progress": {"application": "teacher"},
        "teacher_health_checks_total": {"outcome": "healthy"},
        "teacher_engine_steps_total": {"application": "teacher"},
    }
    async with asyncio.timeout(15):
        while not all(shown(name, tags) for name, tags in wanted.items()):
            await asyncio.sleep(0.2)  # Ray's agent collects now and then
    assert "# HELP ray_teacher_positions_total Positions of completions answered" in metrics_page()


def shown(name: str, tags: dict[str, str]) -> bool:
    """Whether the metrics page has such a line."""
    lines = re.findall(rf"^ray_{name}{{(.*)}} ", metrics_page(), re.MULTILINE)
    return any(all(f'{tag}="{value}"' in line for tag, value in tags.items()) for line in lines)


async def test_a_hung_engine_is_ended_and_its_replica_replaced(url: str, expected: list[int]):
    with pytest.raises(TeacherUnavailable, match="cut off"):
        await answer(url, attempts=1, token=HANG_TOKEN)
    async with httpx.AsyncClient() as http:
        refused = await http.get(url + "/healthz")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
    assert refused.headers["Retry-After"] == "1"
    async with asyncio.timeout(60):
        assert await answer(url, attempts=20) == expected


async def test_a_replaced_replica_answers_what_it_has_and_closes_its_engine(url: str, expected: list[int], diary: Path):
    """Roll-out of another engine: a long request finishes on the old one, others are answered throughout."""
    await asyncio.to_thread(deploy, waiting_engine(4, diary=diary), replicas=REPLICAS | {"health_check_timeout_s": 10})
    closed = diary.read_text()
    long = asyncio.create_task(answer(url, attempts=1))
    await asyncio.sleep(0.5)  # until the replica works on it
    rolling = asyncio.create_task(asyncio.to_thread(deploy, waiting_engine(0.1, diary=diary), replicas=REPLICAS))
    while not long.done():
        assert await answer(url, attempts=5) == expected
    assert await long == expected
    await rolling
    assert diary.read_text() == closed + "closed\n"


class MissingEngine(StandInEngine):
    """An engine whose weights aren't there."""

    async def start(self) -> None:
        raise UserError("no folder /weights")


async def test_who_asks_an_application_that_fails_to_deploy_is_answered(url: str):
    """Those that came while it was being deployed too."""
    settings = TeacherServerSettings(model="none", replicas=ReplicaSettings(**REPLICAS))
    options = deployment_options(settings) | {"max_constructor_retry_count": 1}
    broken = serve.deployment(**options)(TeacherReplica).bind(settings, lambda settings: MissingEngine())
    deploying = asyncio.create_task(asyncio.to_thread(serve.run, broken, name="broken", route_prefix="/broken"))
    async with httpx.AsyncClient(timeout=120) as http, asyncio.timeout(120):
        while (answer := await http.get(url.removesuffix("/teacher") + "/broken/v1/teacher")).status_code == 404:
            await asyncio.sleep(0.1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deploy_failed")
    with pytest.raises(RuntimeError, match="Deploying application broken failed"):
        await deploying
    async with httpx.AsyncClient() as http:
        assert (await http.get(url + "/healthz")).status_code == 200
