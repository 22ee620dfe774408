"""The API around a stand-in engine, and a client of it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.stand_in_engine import StandInEngine
from tests.unit.teacher_server.asking import connect, make_app


@pytest.fixture
def engine() -> StandInEngine:
    return StandInEngine()


@pytest.fixture
async def http(engine: StandInEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(make_app(engine)) as client:
        yield client
