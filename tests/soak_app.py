"""The service in a process of its own, for a soak: `uvicorn --factory tests.soak_app:create`. Its engine stands in."""

import gc
import sys
from collections.abc import Sequence

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.http.api_keys import DEFAULT_CLIENT
from tests.service import make_service
from tests.stand_in_engine import StandInEngine

TOKEN = "soak-token"


class ForgetfulEngine(StandInEngine):
    """Doesn't remember what it was asked."""

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        await super()._work(model, task, top_k, prompt)
        self.asked.clear()


def create() -> ASGIApp:
    """The service, with `/blocks` before it: how many blocks of memory Python holds, after collecting garbage."""
    service = make_service(ForgetfulEngine(), keys={DEFAULT_CLIENT: TOKEN})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/blocks":
            gc.collect()
            await JSONResponse(sys.getallocatedblocks())(scope, receive, send)
        else:
            await service(scope, receive, send)

    return app
