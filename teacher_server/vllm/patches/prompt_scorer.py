"""In vLLM's workers: score only the rows of a prompt that were asked for.

Row r of a prompt is the distribution after its token r, from which token r + 1 came. vLLM computes all rows at once, in
float32 over the whole vocabulary; here a request names the first row that it wants, and logits exist for a bounded
number of rows at a time.

Legend: R = wanted rows, k = entries per row, V = vocabulary size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from vllm.sampling_params import SamplingParams
from vllm.utils.torch_utils import async_tensor_h2d
from vllm.v1.outputs import LogprobsTensors

FIRST_ROW = "first_row"
"""Key of a request's `extra_args`: the first row that it wants."""
CPU_LOGITS, GPU_LOGITS = 2**21, 2**26
"""Logits held at once: what stays in a core's cache; 256 MiB in float32, as much again for each copy."""
FEWEST_ROWS = 64
RUNNER_NAMES = (
    "_get_prompt_logprobs_dict", "_sync_device", "num_prompt_logprobs", "requests", "input_batch", "query_start_loc",
    "device",
)  # fmt: skip
"""What is used of the model runner, besides its model and sampler, which only the last of several stages has."""

PromptLogprobs = dict[str, LogprobsTensors | None]


class ScoringWorker:
    """A worker that scores the wanted rows alone, once `install_scoring` was called."""

    model_runner: Any

    def install_scoring(self, logits_rows: int | None) -> str:
        """Take over the scoring of requests that name a first row. Returns why not, or an empty string."""
        runner = self.model_runner
        missing = [name for name in RUNNER_NAMES if not hasattr(runner, name)]
        if missing:
            return f"{type(runner).__module__}.{type(runner).__name__} isn't the V1 model runner: it lacks {missing}"
        rows = logits_rows or rows_at_once(runner.input_batch.vocab_size, runner.device)
        runner._get_prompt_logprobs_dict = PromptScorer(runner, runner._get_prompt_logprobs_dict, rows)
        return ""


def rows_at_once(vocabulary_size: int, device: torch.device) -> int:
    """Rows whose logits are held at once."""
    return max((CPU_LOGITS if device.type == "cpu" else GPU_LOGITS) // vocabulary_size, FEWEST_ROWS)


def first_row(params: SamplingParams | None) -> int | None:
    """The first row that a request wants, when it names one."""
    return params.extra_args.get(FIRST_ROW) if params is not None and params.extra_args else None


@dataclass
class PromptScorer:
    """Called by the model runner after each step, instead of its own `_get_prompt_logprobs_dict`."""

    runner: Any
    """vLLM's GPUModelRunner, or the CPUModelRunner that inherits from it."""
    others: Callable[[torch.Tensor, dict[str, int]], PromptLogprobs]
    """vLLM's own method, for requests that want all rows."""
    logits_rows: int

    def __call__(self, hidden_states: torch.Tensor, num_scheduled_tokens: dict[str, int]) -> PromptLogprobs:
        """The rows of requests whose prompt ends with this step, which computed so many tokens of each request."""
        runner, asked = self.runner, self.runner.num_prompt_logprobs
        mine = {name: k for name, k in asked.items() if first_row(runner.requests[name].sampling_params) is not None}
        runner.num_prompt_logprobs = {name: k for name, k in asked.items() if name not in mine}
        finished = self.others(hidden_states, num_scheduled_tokens)
        done: PromptLogprobs = {}
        for name, k in mine.items():
            tokens = num_scheduled_tokens.get(name)
            if tokens is not None and self._advance(name, k, tokens, hidden_states):
                done[name] = runner.requests[name].in_progress_prompt_logprobs_cpu
                runner.requests[name].in_progress_prompt_logprobs_cpu = None
            else:
                runner.num_prompt_logprobs[name] = k
        if done:
            runner._sync_device()
        return finished | done

    def _advance(self, name: str, k: int, tokens: int, hidden_states: torch.Tensor) -> bool:
        """Fill in the wanted rows among those of this step. Returns whether the prompt ends with it."""
        request = self.runner.requests[name]
        first, end = first_row(request.sampling_params), len(request.prompt_token_ids) - 1
        assert first is not None
        if request.in_progress_prompt_logprobs_cpu is None:
            request.in_progress_prompt_logprobs_cpu = poisoned(end - first, k)
        start = request.num_computed_tokens
        offset = self.runner.query_start_loc.np[self.runner.input_batch.req_id_to_index[name]].item() - start
        stop = min(start + tokens, end)
        for row in range(max(start, first), stop, self.logits_rows):
            until = min(row + self.logits_rows, stop)
            targets = async_tensor_h2d(
                request.prompt_token_ids[row + 1 : until + 1], device=self.runner.device, dtype=torch.int64
            )
            ids, logprobs = self._score(hidden_states[offset + row : offset + until], targets, k)
            buffers = request.in_progress_prompt_logprobs_cpu
            buffers.logprob_token_ids[row - first : until - first].copy_(ids, non_blocking=True)
            buffers.logprobs[row - first : until - first].copy_(logprobs, non_blocking=True)
        return start + tokens > end

    def _score(self, hidden_states: torch.Tensor, targets: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and logprobs as [R, k + 1]: the target, then the k most likely."""
        logprobs = self.runner.sampler.compute_logprobs(self.runner.model.compute_logits(hidden_states))  # [R, V]
        top = torch.topk(logprobs, k, dim=-1)
        chosen = targets.unsqueeze(-1)
        ids = torch.cat((chosen, top.indices), dim=1)
        return ids.to(torch.int32), torch.cat((logprobs.gather(-1, chosen), top.values), dim=1)


def poisoned(rows: int, k: int) -> LogprobsTensors:
    """Buffers whose logprobs are NaN until they are computed; ranks are left out."""
    buffers = LogprobsTensors.empty_cpu(rows, k + 1)
    buffers.logprobs.fill_(torch.nan)
    return buffers._replace(selected_token_ranks=buffers.selected_token_ranks[:0])
