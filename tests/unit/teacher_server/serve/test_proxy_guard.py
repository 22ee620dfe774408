"""Serve's own routes, closed around its HTTP proxy: who still sees what."""

import httpx
import pytest
from fastapi import FastAPI
from ray.serve._private.http_util import validate_http_proxy_callback_return
from ray.serve._private.utils import call_function_from_import_path

from cluster.local.nodes import SERVE_GUARD
from teacher_server.serve.failed_applications import AnswerForFailed
from teacher_server.serve.proxy_guard import CloseServeRoutes


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        ("10.0.0.7", "/-/routes", 401),
        ("10.0.0.7", "/-/healthz", 401),
        ("10.0.0.7", "/-/", 401),
        ("unix", "/-/healthz", 401),
        ("127.0.0.1", "/-/routes", 401),
        ("127.0.0.1", "/-/healthz", 200),
        ("::1", "/-/healthz", 200),
        ("10.0.0.7", "/teacher/healthz", 200),
        ("10.0.0.7", "/teacher/-/routes", 200),
    ],
)
async def test_only_probes_of_the_same_host_see_whether_serve_is_up(client: str, path: str, status: int):
    inner = FastAPI()
    inner.add_api_route("/{path:path}", lambda path: path)
    transport = httpx.ASGITransport(CloseServeRoutes(inner), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://teacher") as http:
        assert (await http.get(path)).status_code == status


def test_serve_takes_it_from_the_nodes_environment():
    (path,) = SERVE_GUARD.values()
    guard, answer = validate_http_proxy_callback_return(call_function_from_import_path(path))
    assert (guard.cls, answer.cls) == (CloseServeRoutes, AnswerForFailed)
