"""What a request's body may be, checked on its bytes before anything parses them: bounded, plain JSON, not too deep."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from common.api import MAX_SEQUENCES
from teacher_server.http.errors import ApiError
from teacher_server.settings import LimitSettings

BODY_TIMEOUT_S = 60
"""Seconds that a client has to send its body."""
MAX_DEPTH = 20
"""Nesting of the JSON: a tool's schema stands 4 levels deep, and may have 16 levels of its own."""
BYTES_PER_TOKEN = 12
"""The longest token id, a comma and a space."""
BYTES_PER_SEQUENCE = 16_384
"""An id of 512 characters that are all escaped, and the names of the fields."""

MAX_STRINGS = 16_384
"""Strings in the JSON, names of fields included: 64 in each of 256 sequences."""
MAX_BRACKETS = 16_384
"""Brackets outside strings; with MAX_STRINGS it bounds the objects, and the complaints, that a body can turn into."""

_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{}NI"))


def max_body_bytes(limits: LimitSettings) -> int:
    """The setting, else room for the largest request that the other limits allow."""
    return limits.max_body_bytes or limits.max_request_tokens * BYTES_PER_TOKEN + MAX_SEQUENCES * BYTES_PER_SEQUENCE


def check_headers(headers: Headers, max_bytes: int) -> None:
    """Raises ApiError when the headers alone say that the body can't be taken (400, 413, 415)."""
    length = headers.get("Content-Length")
    if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise ApiError(400, "invalid_header", f"got the Content-Length {length[:40]!r}, expected a number of bytes")
    if length is not None and int(length) > max_bytes:
        raise _too_large(f"a body of {length} bytes", max_bytes)
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "unsupported_media_type", "got a compressed body; send it without Content-Encoding")


async def read(receive: Receive, headers: Headers, max_bytes: int) -> bytes:
    """The whole body.

    Raises ApiError when it is too large (413), shorter than announced (400) or comes too slowly (408), ClientDisconnect
    when nobody waits for an answer any more.
    """
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > max_bytes:
                    raise _too_large("a larger body", max_bytes)
    except TimeoutError:
        slow = f"got {size} bytes of a body in {BODY_TIMEOUT_S} s; send it faster or in smaller requests"
        raise ApiError(408, "request_timeout", slow) from None
    announced = int(headers.get("Content-Length", size))
    if announced != size:
        cut = f"got a body of {size} bytes where Content-Length says {announced}; send the whole body"
        raise ApiError(400, "truncated_body", cut)
    return b"".join(parts)


def check_json(body: bytes, headers: Headers) -> None:
    """Raises ApiError when a body isn't said to be JSON (415).

    Then when it nests too deeply, has too many parts, or holds NaN or Infinity (400).
    """
    if not body:
        return
    media_type, _, parameters = headers.get("Content-Type", "").partition(";")
    charset = parameters.lower().replace('"', "").replace(" ", "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        got = headers.get("Content-Type", "none")[:80]
        message = f"got the Content-Type {got!r}, expected application/json in UTF-8; send that header"
        raise ApiError(415, "unsupported_media_type", message)
    structure = _structure(body)
    if b"N" in structure or b"I" in structure:
        raise ApiError(400, "invalid_json", "got NaN or Infinity, which JSON doesn't have; send finite numbers")
    for _ in range(MAX_DEPTH):
        structure = structure.replace(b"[]", b"").replace(b"{}", b"")
    if structure:
        message = f"got JSON that nests deeper than {MAX_DEPTH} levels or whose brackets don't match"
        raise ApiError(400, "invalid_json", f"{message}; send a flat, complete document")


def _structure(body: bytes) -> bytes:
    """What stands outside strings of brackets and of letters that begin NaN and Infinity; 1 ms per megabyte.

    Raises ApiError (400) when there are more strings or brackets than any request of ours has.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = body.count(b'"') // 2
    if strings > MAX_STRINGS:
        raise _too_many("strings", strings, MAX_STRINGS)
    structure = b"".join(body.split(b'"')[::2]).translate(None, _NOT_STRUCTURE)
    if len(structure) > MAX_BRACKETS:
        raise _too_many("brackets", len(structure), MAX_BRACKETS)
    return structure


def _too_many(what: str, got: int, most: int) -> ApiError:
    return ApiError(
        400, "invalid_json", f"got JSON with {got} {what}, expected at most {most}; send a smaller document"
    )


def _too_large(got: str, max_bytes: int) -> ApiError:
    return ApiError(413, "body_too_large", f"got {got}, this teacher takes at most {max_bytes}; send fewer sequences")


class JsonRequest(Request):
    """A request whose body is parsed in a third of the time that the standard library takes."""

    async def json(self) -> Any:
        """The parsed body. Raises json.JSONDecodeError when it isn't JSON in UTF-8."""
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False, cache_strings="keys")
            except ValueError as error:
                raise json.JSONDecodeError(str(error), "", 0) from None
            await asyncio.sleep(0)  # the others' turn: validation takes as long again
        return self._json


class JsonRoute(APIRoute):
    """A route whose handler gets a JsonRequest; for routers with large bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, around the other kind of request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
