"""The real service on loopback, around an engine that writes given turns or around vLLM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from teacher_server.engine.protocol import warm_up
from teacher_server.settings import TeacherServerSettings
from teacher_server.vllm.engine import VllmEngine
from tests.loopback import serving
from tests.models import CPU_ENVIRONMENT
from tests.service import make_service


@asynccontextmanager
async def vllm_service(settings: TeacherServerSettings) -> AsyncIterator[str]:
    """The address of a service around vLLM, which has one thread of a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_ENVIRONMENT.items():
            patch.setenv(name, value)
        engine = VllmEngine(settings)
        try:
            await engine.start()
            await warm_up(engine)
            async with serving(make_service(engine, settings.limits)) as url:
                yield url
        finally:
            processes = [child for child in psutil.Process().children() if "EngineCor" in child.name()]
            await engine.close()
            _, left = psutil.wait_procs(processes, timeout=30)
            assert not left, "vLLM's engine outlived its close"
