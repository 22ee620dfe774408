"""A relay between trainer and teacher: counts what is asked, and lets pass, delays or spoils as a test says.

It makes kills exact without a clock: only prompts whose position in the global order lies below `limit` pass it, so a
run comes exactly so far and no further, however fast the machine is.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI, Request, Response

from tests.loopback import serving

Spoil = Callable[[str, Response], Response]
"""Makes another response of the response to the prompt with this id."""
LOOK_S = 0.02
KEPT_HEADERS = ("content-type", "retry-after")


class Relay:
    """Forwards to `upstream`; to be used from the thread that opened it."""

    def __init__(self, upstream: str, order: Sequence[str]) -> None:
        self._upstream = upstream
        self._position = {id: position for position, id in enumerate(order)}
        self.limit = len(order)
        """Prompts at this position and after it are told to come again, as by a teacher that is well and busy."""
        self.delay_s = 0.0
        """Seconds by which every answer to a prompt comes later."""
        self.spoil: Spoil | None = None
        self.url = ""
        self.endpoint: _Endpoint | None = None
        self.asked: Counter[str] = Counter()
        """How often each prompt was sent to the teacher."""

    def app(self, http: httpx.AsyncClient) -> FastAPI:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def relay(request: Request) -> Response:
            body = await request.body()
            id = _prompt_of(body)
            if id not in self._position:  # a card, or a probe of the handshake
                return await self._forward(http, request, body)
            return await self._prompt(http, request, body, id)

        return app

    async def _prompt(self, http: httpx.AsyncClient, request: Request, body: bytes, id: str) -> Response:
        if self._position[id] >= self.limit:
            return Response("the gate is shut", 503, {"Retry-After": "1"})
        self.asked[id] += 1
        asking = asyncio.create_task(self._ask(http, request, body, id))
        try:
            while not asking.done():
                if await request.is_disconnected():
                    return Response(status_code=499)
                await asyncio.wait([asking], timeout=LOOK_S)
            return asking.result()
        finally:
            asking.cancel()  # so that the teacher gives up what nobody waits for, as it does without a relay

    async def _ask(self, http: httpx.AsyncClient, request: Request, body: bytes, id: str) -> Response:
        response = await self._forward(http, request, body)
        await asyncio.sleep(self.delay_s)
        return self.spoil(id, response) if self.spoil and response.status_code == 200 else response

    async def _forward(self, http: httpx.AsyncClient, request: Request, body: bytes) -> Response:
        headers = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        try:
            answer = await http.request(
                request.method, self._upstream + request.url.path, content=body, headers=headers
            )
        except httpx.TransportError as error:
            return Response(repr(error), 502)
        kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)


class _Endpoint:
    """The relay's place on loopback, which can go and come back."""

    def __init__(self, portal: BlockingPortal, app: FastAPI) -> None:
        self._portal, self._app, self._port, self._serving = portal, app, 0, ExitStack()

    def open(self) -> str:
        """Listen, always on the same port; returns the address."""
        context = self._portal.wrap_async_context_manager(serving(self._app, self._port))
        url = self._serving.enter_context(context)
        self._port = httpx.URL(url).port or 0
        return url

    def close(self) -> None:
        """Cut whatever is under way; connections are refused from now on."""
        self._serving.close()


@contextmanager
def relaying(upstream: str, order: Sequence[str]) -> Iterator[Relay]:
    """A relay to the teacher at `upstream`; `order`: the ids of the prompts as the run takes them."""
    client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False)
    relay = Relay(upstream, order)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client) as http:
        relay.endpoint = _Endpoint(portal, relay.app(http))
        relay.url = relay.endpoint.open()
        try:
            yield relay
        finally:
            relay.limit, relay.delay_s = len(order), 0
            relay.endpoint.close()


def _prompt_of(body: bytes) -> str:
    return str(json.loads(body)["sequences"][0]["id"]) if body else ""
