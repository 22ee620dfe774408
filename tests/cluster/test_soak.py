"""2,000 requests of all kinds over real HTTP: the service's memory and file descriptors stay flat."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.serving import ROOT, free_port
from tests.soak_app import TOKEN
from tests.unit.teacher_server.asking import SCORE, WRITE, body

pytestmark = pytest.mark.anyio
REQUESTS = 2000
BATCH = 10
KINDS = [
    ("POST", "/v1/distill", body(SCORE, WRITE), 200),
    ("POST", "/v1/distill", body(SCORE | {"prompt_token_ids": []}), 200),
    ("POST", "/v1/distill", body(SCORE, model="nobody"), 404),
    ("POST", "/v1/distill", {"a": [[[]]]}, 422),
    ("GET", "/v1/teacher", None, 200),
    ("GET", "/healthz", None, 200),
    ("GET", "/v1/secret", None, 404),
]


@pytest.fixture
def server() -> Iterator[tuple[psutil.Process, str]]:
    """A uvicorn process with the service, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.soak_app:create", f"--port={port}"]
    with subprocess.Popen([*command, "--log-level=warning"], cwd=ROOT) as process:
        try:
            _wait_until_up(f"http://127.0.0.1:{port}")
            yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(url + "/healthz")
            return
        time.sleep(0.1)  # Python is starting
    raise TimeoutError(f"no answer from {url}")


async def ask(http: httpx.AsyncClient, number: int) -> None:
    """One of KINDS in turn; each request of a batch runs beside the others."""
    method, path, json, status = KINDS[number % len(KINDS)]
    assert (await http.request(method, path, json=json)).status_code == status


async def leave(http: httpx.AsyncClient) -> None:
    """A client that goes away before its answer."""
    with suppress(TimeoutError):
        await asyncio.wait_for(http.post("/v1/distill", json=body(SCORE)), 0.002)


async def test_nothing_grows_with_the_number_of_requests(server: tuple[psutil.Process, str]):
    process, url = server
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async def sizes(http: httpx.AsyncClient) -> tuple[int, int, int]:
        blocks = (await http.get("/blocks")).json()
        return process.num_fds(), process.memory_info().rss, blocks

    async def answer(http: httpx.AsyncClient, requests: int) -> None:
        for start in range(0, requests, BATCH):
            await asyncio.gather(leave(http), *(ask(http, number) for number in range(start, start + BATCH - 1)))

    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        await answer(http, 400)
        descriptors, memory, blocks = await sizes(http)
        await answer(http, REQUESTS)
        await asyncio.sleep(0.2)  # the server notices those that left
        more = await sizes(http)
    assert more[0] - descriptors <= 5
    assert more[1] - memory < 20 * 2**20
    assert more[2] - blocks < REQUESTS / 4, "blocks of Python's memory, of which each object has one or more"
