"""In the process that asks vLLM: logprobs stay arrays, with no Python object per token.

Legend: n = rows, k = entries per row.
"""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from vllm.tokenizers import TokenizerLike
from vllm.v1.engine import EngineCoreRequest, output_processor
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists, LogprobsTensors

from teacher_server.vllm.patches.logprob_rows import LogprobRows

AS_ARRAYS = "logprob_arrays"
"""Key of a request's `extra_args`: true when it can read its logprobs as LogprobRows."""


class ArrayLogprobsProcessor(LogprobsProcessor):
    """vLLM's collector of a request's logprobs, which keeps the arrays that it is given."""

    @classmethod
    def from_new_request(cls, tokenizer: TokenizerLike | None, request: EngineCoreRequest) -> LogprobsProcessor:
        """A collector of arrays for a request that can read them, vLLM's own for all others."""
        params = request.sampling_params
        if params is None or not (params.extra_args or {}).get(AS_ARRAYS):
            return LogprobsProcessor.from_new_request(tokenizer, request)
        processor = super().from_new_request(tokenizer, request)
        processor.logprobs = _container(processor.num_logprobs)
        processor.prompt_logprobs = _container(processor.num_prompt_logprobs)
        return processor

    def _update_sample_logprobs(self, logprobs_lists: LogprobsLists) -> None:
        assert self.num_logprobs is not None
        assert self.cumulative_logprob is not None
        rows = _rows(logprobs_lists.logprob_token_ids, logprobs_lists.logprobs, self.num_logprobs)
        cast(LogprobRows, self.logprobs).extend(rows)
        self.cumulative_logprob += float(logprobs_lists.logprobs[:, 0].sum())

    def _update_prompt_logprobs(self, prompt_logprobs_tensors: LogprobsTensors) -> None:
        assert self.num_prompt_logprobs is not None
        ids, logprobs = prompt_logprobs_tensors.logprob_token_ids, prompt_logprobs_tensors.logprobs
        rows = _rows(ids.numpy(), logprobs.numpy(), self.num_prompt_logprobs)
        if not self.prompt_logprobs:  # empty, or replaced by a list once they were read
            self.prompt_logprobs = _container(self.num_prompt_logprobs)
        cast(LogprobRows, self.prompt_logprobs).extend(rows)


def install() -> None:
    """Make vLLM's output processors in this process collect arrays for requests that can read them."""
    vars(output_processor)["LogprobsProcessor"] = ArrayLogprobsProcessor


def _container(top_k: int | None) -> Any:
    return None if top_k is None else LogprobRows.empty(top_k)


def _rows(ids: NDArray[np.int32], logprobs: NDArray[np.float32], top_k: int) -> LogprobRows:
    """The first k + 1 columns: a batch is as wide as its largest request."""
    return LogprobRows.of(ids[:, : top_k + 1], logprobs[:, : top_k + 1])
