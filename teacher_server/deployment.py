"""The Ray Serve deployment: a replica is one engine with the routes around it, ready once the engine has answered."""

from collections.abc import Callable
from contextlib import aclosing

from fastapi import FastAPI
from ray import serve

from common.client import read_token
from teacher_server.engine import Engine, warm_up
from teacher_server.forwarding import Answer, Forwarded, call
from teacher_server.routes import create_app
from teacher_server.settings import TeacherSettings


@serve.ingress()
class TeacherReplica:
    """Serve constructs it, asks `check_health` now and then, and replaces it when that fails."""

    def __init__(self, settings: TeacherSettings, make_engine: Callable[[TeacherSettings], Engine]) -> None:
        self._settings = settings
        self._token = read_token(settings.token_file)
        self._engine = make_engine(settings)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once, after the constructor and before the replica is ready."""
        await self._engine.start()
        await warm_up(self._engine)
        self._app = create_app(self._engine, self._settings.limits, self._token)
        return self._app

    async def forward(self, request: Forwarded) -> Answer:
        """The answer to a request that a router took, as it would have been given over HTTP."""
        async with aclosing(call(self._app, request)) as answer:
            async for part in answer:
                yield part

    async def check_health(self) -> None:
        """Raises EngineUnavailable when the engine is dead."""
        await self._engine.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):
            await self._engine.close()
