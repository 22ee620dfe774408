"""The Ray Serve deployment: a replica is one engine with the routes around it, ready once the engine has answered."""

import logging
from collections.abc import Callable
from contextlib import aclosing

from fastapi import FastAPI
from ray import serve

from teacher_server.engine.health import EngineHealth, EngineHung
from teacher_server.engine.metrics import DeltaCounter
from teacher_server.engine.protocol import Engine, EngineUnavailable, warm_up
from teacher_server.http import access_log
from teacher_server.http.admission import Admission
from teacher_server.http.api_keys import open_api_keys
from teacher_server.serve import log_handlers
from teacher_server.serve.api import create_app
from teacher_server.serve.ray_metrics import RayRecorder
from teacher_server.serve.relay import RelayedRequest, RelayedResponse, call
from teacher_server.settings import TeacherServerSettings

logger = logging.getLogger(__name__)


@serve.ingress()
class TeacherReplica:
    """Serve constructs it, asks `check_health` now and then, and replaces it when that fails three times in a row."""

    def __init__(self, settings: TeacherServerSettings, make_engine: Callable[[TeacherServerSettings], Engine]) -> None:
        self._settings = settings
        self._api_keys = open_api_keys(settings.token_file)
        with log_handlers.kept():
            self._engine = make_engine(settings)
        self._admission = Admission(settings.limits)
        self._health = EngineHealth(self._engine)
        self._recorder = RayRecorder()
        self._engine_deltas = DeltaCounter(self._recorder)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once, after the constructor and before the replica is ready."""
        access_log.log_to_stderr()
        with log_handlers.kept():
            await self._engine.start()
        await warm_up(self._engine)
        self._app = create_app(
            self._engine, self._settings.limits, self._api_keys, self._admission, self._health, self._recorder
        )
        return self._app

    async def forward(self, request: RelayedRequest) -> RelayedResponse:
        """The answer to a request that a router took, as it would have been given over HTTP."""
        async with aclosing(call(self._app, request)) as answer:
            async for part in answer:
                yield part

    async def check_health(self) -> None:
        """Raises EngineUnavailable when the engine is dead or hung. A hung one is ended: its clients hear of it.

        Serve asks regularly, so what isn't counted by the requests themselves is counted here.
        """
        requests, sequences = self._admission.in_progress
        self._recorder.record("teacher_requests_in_progress", requests)
        self._recorder.record("teacher_sequences_in_progress", sequences)
        self._engine_deltas.look(self._engine.counters())
        outcome = "healthy"
        try:
            await self._health.check(self._settings.replicas.health_check_timeout_s)
        except EngineHung as error:
            outcome = "hung"
            logger.error("ending the engine: %s", error)
            await self._engine.kill()
            raise
        except EngineUnavailable:
            outcome = "dead"
            raise
        finally:
            self._recorder.record("teacher_health_checks", 1, outcome=outcome)

    async def __del__(self) -> None:
        """Serve calls it once the requests it knows of are answered; whatever still comes is refused."""
        if hasattr(self, "_admission"):
            # Serve has waited for those it knows of, and ends this process when the whole time is over.
            await self._admission.close(self._settings.replicas.graceful_shutdown_timeout_s / 2)
            await self._engine.close()
