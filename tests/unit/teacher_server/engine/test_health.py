"""Dead, hung, busy and idle engines are told apart."""

import asyncio

import pytest

from teacher_server.engine import health
from teacher_server.engine.health import EngineHealth, EngineHung
from teacher_server.engine.protocol import EngineUnavailable
from tests.stand_in_engine import StandInEngine

pytestmark = pytest.mark.anyio


async def test_an_idle_engine_is_asked_and_a_fresh_answer_counts_for_a_while(monkeypatch: pytest.MonkeyPatch):
    engine = StandInEngine()
    checked = EngineHealth(engine)
    await checked.check(1)
    for _ in range(5):
        await checked.check(1)
    assert engine.asked == [("teacher", "score", 1)]
    monkeypatch.setattr(health, "FRESH_S", 0)
    engine.dead = True
    with pytest.raises(EngineUnavailable, match="dead"):
        await checked.check(1)


async def test_a_hung_engine_is_found_with_one_question_however_many_ask():
    engine = StandInEngine(asyncio.Event())
    checked = EngineHealth(engine)
    results = await asyncio.gather(*(checked.check(0.1) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [EngineHung] * 5
    with pytest.raises(EngineHung, match=r"no sign of life for 0\.05 s"):
        await checked.check(0.05)
    assert len(engine.asked) == 1
    assert engine.gate is not None
    engine.gate.set()
    await checked.check(1)


async def test_a_busy_engine_is_healthy_although_our_question_waits():
    engine = StandInEngine(asyncio.Event())
    checked = EngineHealth(engine)

    async def work() -> None:
        await asyncio.sleep(0.1)
        engine.totals["steps"] += 1

    await asyncio.gather(checked.check(5), work())
    assert engine.working == 1, "the question still waits"


async def test_a_question_that_fails_is_the_verdict():
    engine = StandInEngine(asyncio.Event())
    checked = EngineHealth(engine)
    checking = asyncio.create_task(checked.check(5))
    async with asyncio.timeout(5):
        while not engine.working:
            await asyncio.sleep(0.001)
    await engine.kill()
    with pytest.raises(EngineUnavailable):
        await checking
