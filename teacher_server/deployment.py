"""The Ray Serve deployment: a replica is one engine with the routes around it, ready once the engine has answered."""

from collections.abc import Callable

from fastapi import FastAPI
from ray import serve

from teacher_server import access_log
from teacher_server.engine import Engine, warm_up
from teacher_server.routes import create_app
from teacher_server.settings import TeacherSettings
from teacher_server.tokens import open_tokens


@serve.ingress()
class TeacherReplica:
    """Serve constructs it, asks `check_health` now and then, and replaces it when that fails."""

    def __init__(self, settings: TeacherSettings, make_engine: Callable[[TeacherSettings], Engine]) -> None:
        self._settings = settings
        self._tokens = open_tokens(settings.token_file)
        self._engine = make_engine(settings)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once, after the constructor and before the replica is ready."""
        access_log.log_to_stderr()
        await self._engine.start()
        await warm_up(self._engine)
        return create_app(self._engine, self._settings.limits, self._tokens)

    async def check_health(self) -> None:
        """Raises EngineUnavailable when the engine is dead."""
        await self._engine.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):
            await self._engine.close()
