"""What vLLM's engine process reports of itself: its steps, and all of vLLM's metrics into Ray's."""

import multiprocessing
from collections import Counter
from contextlib import suppress

import psutil
import ray
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import StatLoggerBase, StatLoggerFactory
from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

ENGINE_PROCESS = "EngineCore"
"""What vLLM calls its engine process; its title in the system's table can't always be set."""


def stat_loggers(counters: Counter[str]) -> list[StatLoggerFactory]:
    """Loggers for AsyncLLM: one that counts `steps`, and where Ray runs, vLLM's metrics among Ray's."""

    def count_steps(config: VllmConfig, engine_index: int = 0) -> StatLoggerBase:
        return _StepCounter(counters)

    return [count_steps, RayPrometheusStatLogger] if ray.is_initialized() else [count_steps]


def engine_processes() -> list[psutil.Process]:
    """vLLM's engine processes under this one."""
    found = []
    for child in multiprocessing.active_children():
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if child.name.startswith(ENGINE_PROCESS):
                found.append(psutil.Process(child.pid))
    return found


class _StepCounter(StatLoggerBase):
    """vLLM calls `record` for whatever comes from its engine process."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: MultiModalCacheStats | None = None,
        engine_idx: int = 0,
    ) -> None:
        self._counters["steps"] += 1

    def log_engine_initialized(self) -> None:
        """Nothing to say."""
