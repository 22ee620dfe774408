"""What vLLM is told when it starts: its engine arguments, from the settings and the adapters on disk."""

from typing import Any, get_args

from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerFactory

from common.errors import UserError
from teacher_server.adapters.capacity import AdapterCapacity
from teacher_server.settings import EngineSettings, TeacherServerSettings
from teacher_server.vllm import quantization

BATCHED_TOKENS = 4096
"""Tokens of one engine step where the settings say nothing."""
LORA_RANKS = get_args(MaxLoRARanks)
"""The largest ranks that vLLM can be told to leave capacity for."""


def engine_args(
    settings: TeacherServerSettings, folder: str, capacity: AdapterCapacity | None = None, **more: Any
) -> AsyncEngineArgs:
    """What vLLM is told: raw logprobs, safetensors only, no code from the model's folder; `capacity` for adapters.

    Raises UserError when vLLM can't run so on this machine.
    """
    engine = settings.engine
    quantization.check_supported(engine)
    return AsyncEngineArgs(
        model=folder,
        dtype=engine.dtype,
        load_format="safetensors",
        trust_remote_code=False,
        max_model_len=engine.max_length + 1,
        max_logprobs=engine.max_top_k,
        logprobs_mode="raw_logprobs",
        max_num_batched_tokens=_batched_tokens(engine),
        max_num_seqs=engine.max_running_sequences,
        enable_prefix_caching=engine.prefix_caching,
        enforce_eager=engine.enforce_eager,
        tensor_parallel_size=engine.tensor_parallel_size,
        pipeline_parallel_size=engine.pipeline_parallel_size,
        distributed_executor_backend=_executor(settings),
        quantization=engine.quantization,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        kv_cache_memory_bytes=None if engine.kv_cache_gib is None else int(engine.kv_cache_gib * 2**30),
        disable_log_stats=True,
        **_whole_prompts(engine),
        **_lora(capacity),
        **more,
    )


def start_llm(arguments: AsyncEngineArgs, stat_loggers: list[StatLoggerFactory]) -> AsyncLLM:
    """vLLM started with these `arguments`. Raises UserError when it can't be."""
    try:
        return AsyncLLM.from_engine_args(arguments, stat_loggers=stat_loggers)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"vLLM can't serve {arguments.model} with these settings: {reason}") from error
    except RuntimeError as error:  # its engine process ended, and said why in the log alone
        raise UserError(
            f"vLLM's engine didn't start on {arguments.model}: {' '.join(str(error).split())}; the log above holds the "
            "root cause. Check the memory (engine.kv_cache_gib, engine.gpu_memory_utilization) and the model's folder"
        ) from error


def _executor(settings: TeacherServerSettings) -> str:
    """`ray` takes the placement group that Serve made for the replica, and starts a worker in each of its bundles."""
    if settings.replicas.placement:
        return "ray"
    return "uni" if settings.engine.tensor_parallel_size * settings.engine.pipeline_parallel_size == 1 else "mp"


def _lora(capacity: AdapterCapacity | None) -> dict[str, Any]:
    if capacity is None:
        return {}
    return {
        "enable_lora": True,
        "max_loras": capacity.slots,
        "max_lora_rank": _room_for(capacity.rank),
        # Without this vLLM wraps lm_head too, and scoring two prompts at once ends its CPU engine.
        "lora_target_modules": sorted(capacity.modules),
    }


def _whole_prompts(engine: EngineSettings) -> dict[str, Any]:
    """On a CPU no prompt is spread over several steps: with a seeded request's that ends vLLM's engine.

    It then rewinds the request's random generator, which torch's CPU generators can't do.
    """
    if not current_platform.is_cpu():
        return {}
    if _batched_tokens(engine) <= engine.max_length:
        raise UserError(
            f"got engine.max_batched_tokens {engine.max_batched_tokens} with engine.max_length {engine.max_length}; on "
            f"a CPU a step must hold the longest sequence: set max_batched_tokens to {engine.max_length + 1} or more"
        )
    return {"enable_chunked_prefill": False}


def _batched_tokens(engine: EngineSettings) -> int:
    if engine.max_batched_tokens is not None:
        return engine.max_batched_tokens
    whole_sequence = engine.max_length + 1 if current_platform.is_cpu() else 0
    return max(BATCHED_TOKENS, whole_sequence, engine.max_running_sequences)


def _room_for(rank: int) -> Any:
    capacity = next((allowed for allowed in LORA_RANKS if allowed >= rank), None)
    if capacity is None:
        raise UserError(f"got an adapter of rank {rank}, vLLM serves ranks up to {LORA_RANKS[-1]}; train a smaller one")
    return capacity
