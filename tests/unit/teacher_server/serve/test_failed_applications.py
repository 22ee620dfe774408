"""Who waits for an application that failed to deploy is answered; who waits for another one waits on."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from ray.serve.exceptions import RayServeException
from starlette.types import Receive, Scope, Send

from teacher_server.serve import failed_applications
from teacher_server.serve.failed_applications import AnswerForFailed, FailedApplications, wait_for_answer
from tests.unit.teacher_server.asking import error_of

pytestmark = pytest.mark.anyio


def application(prefix: str | None, status: str, *states: str) -> dict[str, Any]:
    replicas = [{"state": state} for state in states]
    return {"route_prefix": prefix, "status": status, "deployments": {"TeacherReplica": {"replicas": replicas}}}


APPLICATIONS = {
    "broken": application("/broken", "DEPLOY_FAILED", "STOPPING"),
    "nested": application("/broken/inside", "RUNNING", "RUNNING"),
    "updated": application("/updated", "DEPLOY_FAILED", "RUNNING", "STARTING"),
    "starting": application("/starting", "DEPLOYING", "STARTING"),
    "inner": application(None, "DEPLOY_FAILED"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_applications, "LOOK_S", 0.02)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Future()


async def get(path: str, ask: Any = lambda: {"applications": APPLICATIONS}, app: Any = never) -> httpx.Response | None:
    """The answer to a request that Serve doesn't answer; None where it waits on."""
    transport = httpx.ASGITransport(AnswerForFailed(app, FailedApplications(ask)))
    async with httpx.AsyncClient(transport=transport, base_url="http://serve") as http:
        try:
            async with asyncio.timeout(0.3):
                return await http.get(path)
        except TimeoutError:
            return None


@pytest.mark.parametrize("path", ["/broken", "/broken/", "/broken/v1/teacher"])
async def test_the_failed_ones_are_answered(path: str):
    answer = await get(path)
    assert answer is not None
    assert (answer.status_code, error_of(answer)["code"]) == (503, "deploy_failed")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("path", ["/brokenly", "/broken/inside/v1", "/updated", "/starting", "/other", "/"])
async def test_the_others_wait_on(path: str):
    assert await get(path) is None


async def test_who_waits_already_when_it_fails_is_answered_too():
    said: Iterator[dict[str, Any]] = iter([{"broken": application("/broken", "DEPLOYING")}, APPLICATIONS])
    answer = await get("/broken/v1/teacher", lambda: {"applications": next(said)})
    assert answer is not None
    assert answer.status_code == 503


async def test_a_controller_that_cannot_be_asked_leaves_all_waiting():
    def fail() -> None:
        raise RayServeException("no controller")

    assert await get("/broken", fail) is None


async def test_an_answer_that_has_begun_is_left_alone():
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"done"})

    answer = await get("/broken", app=slow)
    assert answer is not None
    assert answer.text == "done"


@pytest.mark.parametrize("seconds", [0, 0.1])
async def test_an_answer_is_never_held_back_while_the_controller_is_asked(seconds: float):
    controller, looks = threading.Event(), []

    def hang() -> dict[str, Any]:
        looks.append(1)
        controller.wait(10)
        return {"applications": APPLICATIONS}

    failed = FailedApplications(hang)

    async def answer() -> bool:
        begun = asyncio.ensure_future(asyncio.sleep(seconds))
        return await wait_for_answer(begun, lambda: failed.named("broken"))

    try:
        async with asyncio.timeout(2):
            assert await asyncio.gather(*(answer() for _ in range(5))) == [True] * 5
            assert await answer()  # who comes later asks no second time
    finally:
        controller.set()
    assert len(looks) == (seconds > 0)


async def test_by_name_for_who_asks_through_a_handle():
    failed = FailedApplications(lambda: {"applications": APPLICATIONS})
    assert [name for name in APPLICATIONS if await failed.named(name)] == ["broken", "inner"]
