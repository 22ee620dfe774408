"""The service around an engine as a replica makes it, but without Serve, and with metrics that a test can read."""

from fastapi import FastAPI

from teacher_server.engine.health import EngineHealth
from teacher_server.engine.metrics import METRICS, Recorder
from teacher_server.engine.protocol import Engine
from teacher_server.http.admission import Admission
from teacher_server.http.api_keys import DEFAULT_CLIENT, ApiKeys
from teacher_server.serve.api import create_app
from teacher_server.settings import LimitSettings

TOKEN = "a-token"
KEYS = {DEFAULT_CLIENT: TOKEN}


class MemoryRecorder:
    """Keeps sums of counters and histograms, and gauges' last values, in memory; refuses what METRICS doesn't know."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        """By (name, the tags' values in METRICS' order)."""

    def record(self, name: str, value: float, **tags: str) -> None:
        metric = METRICS[name]
        assert tags.keys() == set(metric.tags), f"{name}: got the tags {sorted(tags)}, expected {metric.tags}"
        key = (name, *(tags[tag] for tag in metric.tags))
        self.values[key] = value if metric.kind == "gauge" else self.values.get(key, 0) + value


def make_service(
    engine: Engine,
    limits: LimitSettings | None = None,
    keys: dict[str, str] = KEYS,
    admission: Admission | None = None,
    recorder: Recorder | None = None,
) -> FastAPI:
    """The application around `engine`, for clients with one of the `keys`, by name."""
    limits = limits or LimitSettings()
    return create_app(
        engine,
        limits,
        ApiKeys(keys),
        admission or Admission(limits),
        EngineHealth(engine),
        recorder or MemoryRecorder(),
    )
