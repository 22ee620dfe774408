"""How scores are asked of vLLM: the array path, and vLLM's public route where that path doesn't fit.

The array path computes the completion's rows alone and may read the prefix cache; the public route (`flat_logprobs`)
computes every row of the sequence, never reads it, and hands over Python numbers.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from common.errors import UserError
from teacher_server.settings import EngineSettings
from teacher_server.vllm.patches import compat, logprobs_processor
from teacher_server.vllm.patches.logprob_rows import LogprobRows
from teacher_server.vllm.patches.logprobs_processor import AS_ARRAYS
from teacher_server.vllm.patches.prompt_scorer import FIRST_ROW
from teacher_server.vllm.patches.scheduler import CACHED_AT_MOST

logger = logging.getLogger(__name__)

CPU_BLOCK_TOKENS = 32
"""vLLM's own choice of 128 on a CPU shares little of short prompts."""
READABLE_AS_ARRAYS: dict[str, Any] = {AS_ARRAYS: True}
"""`extra_args` of requests that can read arrays; where these aren't collected, vLLM ignores them."""


class Scoring:
    """Which way one engine's logprobs take, and what that brought."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._arrays = False
        self.counters = Counter(prefix_reads=0, prefix_fallbacks=0)
        """Sequences scored with the prefix cache; those among them that were asked again without it."""

    def engine_arguments(self) -> dict[str, Any]:
        """For vLLM's AsyncEngineArgs; to be called once, before vLLM starts."""
        block = self._settings.cache_block_tokens or (CPU_BLOCK_TOKENS if current_platform.is_cpu() else None)
        arguments: dict[str, Any] = {} if block is None else {"block_size": block}
        if moved := compat.moved():
            _log_public_route("; ".join(moved))
            return arguments
        # The V2 runner, vLLM's choice on GPUs with Triton, can't leave rows out when it computes their k most likely.
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
        return arguments | {
            "worker_extension_cls": "teacher_server.vllm.patches.worker.TeacherWorker",
            "scheduler_cls": "teacher_server.vllm.patches.scheduler.make_scheduler",
        }

    async def install(self, llm: AsyncLLM) -> None:
        """Switch to the array path, in this process and in vLLM's workers, if all of them can take it.

        Raises UserError when only some can.
        """
        if not llm.vllm_config.parallel_config.worker_extension_cls:
            return
        refused: list[str] = await llm.collective_rpc("install_scoring", args=(self._settings.logits_rows,))
        if any(refused):
            if not all(refused):
                raise UserError(f"vLLM's workers differ in how they can score: {refused}; start them with one version")
            _log_public_route(refused[0])
            return
        logprobs_processor.install()
        self._arrays = True

    def attempts(self, first_row: int, top_k: int) -> Iterator[SamplingParams]:
        """What to ask for the rows from `first_row` on, until an answer is `exact`; vLLM must also write one token."""
        if self._arrays and self._settings.prefix_caching:
            self.counters["prefix_reads"] += 1
            yield _params(top_k, False, READABLE_AS_ARRAYS | {FIRST_ROW: first_row, CACHED_AT_MOST: first_row})
            self.counters["prefix_fallbacks"] += 1  # asked for more: the answer wasn't exact
        yield _params(top_k, True, READABLE_AS_ARRAYS | {FIRST_ROW: first_row} if self._arrays else {})


def wanted_from(output: RequestOutput, first_row: int) -> int:
    """Where in the logprobs of an output the wanted rows begin; vLLM's own start with an empty one."""
    return 0 if isinstance(output.prompt_logprobs, LogprobRows) else first_row + 1


def exact(output: RequestOutput, first_row: int, completion: Sequence[int]) -> bool:
    """Whether vLLM computed every row of the completion for this very request.

    Rows of tokens that came from the prefix cache were never computed. vLLM's count of such tokens isn't renewed when a
    request is preempted and begins anew, so that NaNs are looked for too.
    """
    if (output.num_cached_tokens or 0) > first_row:
        return False
    rows: Any = output.prompt_logprobs
    if not isinstance(rows, LogprobRows):
        return not np.isnan(rows.logprobs).any()
    token_ids, token_logprobs, _, topk_logprobs = rows.columns
    computed = not (np.isnan(token_logprobs).any() or np.isnan(topk_logprobs).any())
    return computed and np.array_equal(token_ids, completion)


def _params(top_k: int, skip_reading_prefix_cache: bool, extra_args: dict[str, Any]) -> SamplingParams:
    return SamplingParams(
        max_tokens=1,
        temperature=0,
        prompt_logprobs=top_k,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_reading_prefix_cache=skip_reading_prefix_cache,
        extra_args=extra_args,
    )


def _log_public_route(why: str) -> None:
    logger.warning("logprobs take vLLM's public route, several times slower: %s", why)
