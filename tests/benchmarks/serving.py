"""Servers that benchmarks ask, each up for the length of a `with` block."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def answering(bodies: Mapping[str, bytes]) -> Iterator[str]:
    """Address of a server, in a thread of its own, that answers a POST to each path with the same prepared body."""

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(bodies[request.url.path], media_type="application/json")

    app = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in bodies])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)  # uvicorn offers no other sign
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
