"""What of vLLM's internals is leant on here, so that another vLLM is noticed before it gives wrong answers."""

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from types import ModuleType

import vllm
from vllm.lora.model_manager import LRUCacheLoRAModelManager
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu
from vllm.sampling_params import SamplingParams
from vllm.v1.core.kv_cache_coordinator import KVCacheCoordinator
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import output_processor
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists, LogprobsTensors
from vllm.v1.worker.gpu_input_batch import CachedRequestState
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

TESTED_VERSION = "0.32.0"
_TOKENS = ["inputs", "lora_b_weights", "output_tensor", "lora_indices_tensor"]
LORA_OPERATORS = {
    "bgmv_shrink": [*_TOKENS, "scaling"],
    "bgmv_expand": [*_TOKENS, "add_inputs"],
    "bgmv_expand_slice": [*_TOKENS, "slice_offset", "slice_size", "add_inputs"],
}
"""Parameters of vLLM's operators for adapters on a CPU that take an index per token."""
METHODS: dict[tuple[type | ModuleType, str], list[str]] = {
    (LogprobsProcessor, "from_new_request"): ["tokenizer", "request"],
    (LogprobsProcessor, "_update_sample_logprobs"): ["self", "logprobs_lists"],
    (LogprobsProcessor, "_update_prompt_logprobs"): ["self", "prompt_logprobs_tensors"],
    (GPUModelRunner, "_get_prompt_logprobs_dict"): ["self", "hidden_states", "num_scheduled_tokens"],
    (GPUModelRunner, "_sync_device"): ["self"],
    (Scheduler, "_get_local_prefix_cache_hit"): ["self", "request"],
    (LRUCacheLoRAModelManager, "get_adapter"): ["self", "adapter_id"],
    (KVCacheManager, "create_kv_cache_blocks"): ["self", "blocks"],
    (KVCacheCoordinator, "find_longest_cache_hit"): ["self", "block_hashes", "max_cache_hit_length"],
    **{(module, name): names for module in (lora_ops, punica_cpu) for name, names in LORA_OPERATORS.items()},
}
"""Parameters of the methods and functions that are replaced or called."""
FIELDS: dict[type, set[str]] = {
    LogprobsProcessor: {"logprobs", "prompt_logprobs", "cumulative_logprob", "num_logprobs", "num_prompt_logprobs"},
    CachedRequestState: {
        "prompt_token_ids", "sampling_params", "num_computed_tokens", "in_progress_prompt_logprobs_cpu",
    },
}  # fmt: skip
"""Fields of the dataclasses that are read or written."""
TUPLES: dict[type, list[str]] = {
    LogprobsLists: ["logprob_token_ids", "logprobs", "sampled_token_ranks"],
    LogprobsTensors: ["logprob_token_ids", "logprobs", "selected_token_ranks"],
}


def moved(version: str = vllm.__version__) -> list[str]:
    """What differs from the vLLM that the array path was tested with; empty when nothing does."""
    wrong = [] if version.split("+")[0] == TESTED_VERSION else [f"version {version}, tested with {TESTED_VERSION}"]
    for (owner, name), expected in METHODS.items():
        got = _parameters(getattr(owner, name, None))
        if got != expected:
            wrong.append(f"{owner.__name__}.{name} takes {got}, expected {expected}")
    for owner, names in FIELDS.items():
        missing = names - {field.name for field in fields(owner)}
        wrong += [f"{owner.__name__} has no {name}" for name in sorted(missing)]
    for owner, columns in TUPLES.items():
        if list(getattr(owner, "_fields", ()))[:3] != columns:
            wrong.append(f"{owner.__name__} doesn't begin with {columns}")
    if not hasattr(output_processor, "LogprobsProcessor"):
        wrong.append("output_processor doesn't name LogprobsProcessor")
    if not {"extra_args", "skip_reading_prefix_cache", "flat_logprobs"} <= set(signature(SamplingParams).parameters):
        wrong.append("SamplingParams lacks extra_args, skip_reading_prefix_cache or flat_logprobs")
    return wrong


def _parameters(method: Callable[..., object] | None) -> list[str] | None:
    if method is None:
        return None
    parameters = list(signature(getattr(method, "__func__", method)).parameters)
    return [name for name in parameters if name != "cls"]
