"""Lines of a server that starts here: none is held however long, and what can't be read answers its request."""

import asyncio

import pytest

from common.agents.environments.mcp_client import stdio

LONG = b"x" * (stdio.MESSAGE_BYTES + 10)
TOO_LONG = f"its answer is longer than {stdio.MESSAGE_BYTES} bytes"
ANSWERS = [
    (b'{"jsonrpc":"2.0","id":7,"result":"' + LONG + b'"}', 7, TOO_LONG),
    (b'{"result":"' + LONG + b'","jsonrpc": "2.0", "id": 7}', 7, TOO_LONG),
    (b'{"result": ], "id": 6, "jsonrpc": "2.0", "id": 7 }', 7, "its answer is no JSON-RPC message"),
    (b'{"jsonrpc":"2.0","method":"' + LONG + b'"}', None, ""),
    (b'{"result":{"id":5}, "jsonrpc":"2.0" , broken}', None, ""),
    (b"ready to serve", None, ""),
    (b"", None, ""),
]


@pytest.mark.parametrize(("written", "id", "why"), ANSWERS)
def test_a_line_that_cannot_be_read_answers_the_request_that_it_names(written: bytes, id: int | None, why: str):
    async def read() -> list[bytes]:
        stream = asyncio.StreamReader()
        stream.feed_data(written + b'\n{"jsonrpc":"2.0","id":8,"result":{}}\n{"jsonrpc":"2.0","id":9')
        stream.feed_eof()
        return [line async for line in stdio.lines(stream)]

    first, second = map(stdio.parse, asyncio.run(read()))
    error = first and first.message.model_dump()["error"]["message"]
    assert (first and first.message.model_dump()["id"], error) == (id, why or None)
    assert second is not None
    assert second.message.model_dump()["id"] == 8
