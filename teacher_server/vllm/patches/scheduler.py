"""In vLLM's engine process: a scheduler that takes no more from the prefix cache than a request allows.

vLLM reuses whatever blocks of a sequence it has: of a sequence that is scored again, or that begins like another
sample for its prompt, also those whose rows are wanted. A request says in its `extra_args` where reuse must end.
"""

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

CACHED_AT_MOST = "cached_at_most"
"""Key of a request's `extra_args`: how many of its tokens may come from the prefix cache."""

Hit = tuple[KVCacheBlocks, int, int, bool]
"""Cached blocks, the tokens in them, and two marks of models with several kinds of cache."""


class CappedScheduler(Scheduler):
    """vLLM's scheduler for engines that wait for each step."""

    def _get_local_prefix_cache_hit(self, request: Request) -> Hit:
        return _capped(self, request, super()._get_local_prefix_cache_hit(request))


class CappedAsyncScheduler(AsyncScheduler):
    """vLLM's scheduler for engines that plan a step while another runs."""

    def _get_local_prefix_cache_hit(self, request: Request) -> Hit:
        return _capped(self, request, super()._get_local_prefix_cache_hit(request))


def make_scheduler(vllm_config: VllmConfig, **parts: Any) -> Scheduler:
    """What vLLM calls as its `scheduler_cls`: the kind that it would have taken itself."""
    kind = CappedAsyncScheduler if vllm_config.scheduler_config.async_scheduling else CappedScheduler
    return kind(vllm_config=vllm_config, **parts)


def _capped(scheduler: Scheduler, request: Request, hit: Hit) -> Hit:
    params = request.sampling_params
    most = params.extra_args.get(CACHED_AT_MOST) if params is not None and params.extra_args else None
    if most is None or hit[1] <= most:
        return hit
    manager = scheduler.kv_cache_manager
    blocks, tokens, _ = manager.coordinator.find_longest_cache_hit(request.block_hashes, most)
    return manager.create_kv_cache_blocks(blocks), tokens, 0, False
