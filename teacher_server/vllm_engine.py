"""The engine protocol on vLLM: an in-process AsyncLLM, asked for logprobs, never for text."""

import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_args

from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from common import VERSION, wire
from common.api import GenerateOptions, ServedModel, TeacherCard
from common.errors import UserError
from common.render import load_tokenizer, tokenizer_fingerprint
from common.sequences import FinishReason
from teacher_server import weights
from teacher_server.engine import EngineUnavailable, Positions, SequenceRefused
from teacher_server.positions import from_flat
from teacher_server.settings import EngineSettings, TeacherSettings
from teacher_server.vllm_scoring import READABLE_AS_ARRAYS, Scoring, exact, wanted_from

LORA_RANKS = get_args(MaxLoRARanks)
"""The largest ranks that vLLM can be told to leave room for."""
SHUTDOWN_S = 2
"""Seconds that vLLM's processes have to end by themselves; then they are killed."""
FINISH_REASONS: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}


class VllmEngine:
    """One base model and its LoRA adapters in this process, its weights in vLLM's worker processes."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        self._llm: AsyncLLM | None = None
        self._card: TeacherCard | None = None
        self._adapters: dict[str, LoRARequest] = {}
        self._scoring = Scoring(settings.engine)

    async def start(self) -> None:
        """Load base and adapters. Raises UserError when they are missing or vLLM can't serve them so."""
        folder = weights.locate_model(self._settings.model)
        for name, path in self._settings.adapters.items():
            weights.check_adapter(name, path)
        try:
            self._llm = AsyncLLM.from_engine_args(
                engine_args(self._settings, str(folder), **self._scoring.engine_arguments())
            )
        except (ValueError, OSError) as error:
            raise UserError(f"vLLM can't serve {folder} with these settings: {' '.join(str(error).split())}") from error
        except RuntimeError as error:  # its engine process ended, and said why in the log alone
            raise UserError(
                f"vLLM's engine didn't start on {folder}: {' '.join(str(error).split())}; the log above holds the root "
                "cause. Check the memory (engine.kv_cache_gib, engine.gpu_memory_utilization) and the model's folder"
            ) from error
        await self._scoring.install(self._llm)
        base_revision = weights.model_revision(folder)
        served = [ServedModel(name=self._settings.name, adapter=False, revision=base_revision)]
        for number, (name, path) in enumerate(self._settings.adapters.items(), start=1):
            revision = weights.adapter_revision(path)
            self._adapters[name] = LoRARequest(revision, number, str(path.absolute()))
            await self._llm.add_lora(self._adapters[name])
            served.append(ServedModel(name=name, adapter=True, revision=f"{base_revision}+{revision}"))
        self._card = self._make_card(served, tokenizer_fingerprint(load_tokenizer(folder)))

    def describe(self) -> TeacherCard:
        """What is served; only after `start`."""
        assert self._card is not None, "start the engine first"
        return self._card

    async def score(self, model: str, prompt: Sequence[int], completion: Sequence[int], top_k: int) -> Positions:
        """The positions of `completion` after `prompt`, from the prefix cache's help where every one was computed."""
        first_row = len(prompt) - 1
        for params in self._scoring.attempts(first_row, top_k):
            output = await self._run(model, [*prompt, *completion], params)
            if exact(output, first_row, completion):
                vocabulary, wanted = self.describe().vocabulary_size, wanted_from(output, first_row)
                return from_flat(output.prompt_logprobs, wanted, top_k, vocabulary, "scored")
        raise SequenceRefused("the model's logprobs for this sequence are not numbers (NaN)")

    async def generate(self, model: str, prompt: Sequence[int], options: GenerateOptions, top_k: int) -> Positions:
        """Write a completion; it ends with the terminator, if one was written within `max_tokens`."""
        params = SamplingParams(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            stop_token_ids=options.stop_token_ids,
            ignore_eos=False,
            logprobs=top_k,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=READABLE_AS_ARRAYS,
        )
        output = await self._run(model, list(prompt), params)
        completion = output.outputs[0]
        reason = FINISH_REASONS.get(completion.finish_reason)
        if reason is None:
            raise EngineUnavailable(f"the engine stopped this sequence: {completion.finish_reason}")
        return from_flat(completion.logprobs, 0, top_k, self.describe().vocabulary_size, reason)

    async def check_health(self) -> None:
        """Raises EngineUnavailable when vLLM's engine process is dead."""
        try:
            await self._started().check_health()
        except EngineDeadError as error:
            raise EngineUnavailable(str(error)) from None

    def counters(self) -> Mapping[str, int]:
        """Totals since the start."""
        return self._scoring.counters

    async def close(self) -> None:
        """Stop vLLM's processes."""
        if self._llm is not None:
            self._llm.shutdown(timeout=SHUTDOWN_S)
            self._llm = None

    async def _run(self, model: str, token_ids: list[int], params: SamplingParams) -> RequestOutput:
        """The finished output of one request; vLLM aborts the request when this call is cancelled."""
        running = self._started().generate(
            tokens_input(token_ids), params, uuid.uuid4().hex, lora_request=self._adapters.get(model)
        )
        try:
            return [output async for output in running][-1]
        except VLLMClientError as error:
            raise SequenceRefused(str(error)) from None
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineUnavailable(str(error)) from None

    def _started(self) -> AsyncLLM:
        if self._llm is None:
            raise EngineUnavailable("the engine isn't running")
        return self._llm

    def _make_card(self, served: list[ServedModel], fingerprint: str) -> TeacherCard:
        config = self._started().model_config
        vocabulary_size = config.get_vocab_size()
        return TeacherCard(
            models=served,
            tokenizer_fingerprint=fingerprint,
            vocabulary_size=vocabulary_size,
            max_top_k=min(self._settings.engine.max_top_k, vocabulary_size),
            max_length=self._settings.engine.max_length,
            abilities=["score", "generate"],
            dtype=str(config.dtype).removeprefix("torch."),
            versions={
                "wire": str(wire.SCHEMA_VERSION),
                "toolagent-kd": VERSION,
                "ray": version("ray"),
                "vllm": _vllm_version(),
            },
        )


def engine_args(settings: TeacherSettings, folder: str, **more: Any) -> AsyncEngineArgs:
    """What vLLM is told: raw logprobs, safetensors only, no code from the model's folder."""
    engine = settings.engine
    return AsyncEngineArgs(
        model=folder,
        dtype=engine.dtype,
        load_format="safetensors",
        trust_remote_code=False,
        max_model_len=engine.max_length + 1,
        max_logprobs=engine.max_top_k,
        logprobs_mode="raw_logprobs",
        max_num_batched_tokens=engine.max_batched_tokens,
        max_num_seqs=engine.max_running_sequences,
        enable_prefix_caching=engine.prefix_caching,
        enforce_eager=engine.enforce_eager,
        tensor_parallel_size=engine.tensor_parallel_size,
        distributed_executor_backend="uni" if engine.tensor_parallel_size == 1 else "mp",
        gpu_memory_utilization=engine.gpu_memory_utilization,
        kv_cache_memory_bytes=None if engine.kv_cache_gib is None else int(engine.kv_cache_gib * 2**30),
        disable_log_stats=True,
        **_whole_prompts(engine),
        **_lora(settings),
        **more,
    )


def _lora(settings: TeacherSettings) -> dict[str, Any]:
    if not settings.adapters:
        return {}
    rank = max(weights.adapter_rank(path) for path in settings.adapters.values())
    changed = set().union(*(weights.adapter_modules(*adapter) for adapter in settings.adapters.items()))
    return {
        "enable_lora": True,
        "max_loras": len(settings.adapters),
        "max_lora_rank": _room_for(rank),
        # Without this vLLM wraps lm_head too, and scoring two prompts at once ends its CPU engine.
        "lora_target_modules": sorted(changed),
    }


def _whole_prompts(engine: EngineSettings) -> dict[str, Any]:
    """On a CPU no prompt is spread over several steps: with a seeded request's that ends vLLM's engine.

    It then rewinds the request's random generator, which torch's CPU generators can't do.
    """
    if not current_platform.is_cpu():
        return {}
    if engine.max_batched_tokens <= engine.max_length:
        raise UserError(
            f"got engine.max_batched_tokens {engine.max_batched_tokens} with engine.max_length {engine.max_length}; on "
            f"a CPU a step must hold the longest sequence: set max_batched_tokens to {engine.max_length + 1} or more"
        )
    return {"enable_chunked_prefill": False}


def _room_for(rank: int) -> Any:
    room = next((allowed for allowed in LORA_RANKS if allowed >= rank), None)
    if room is None:
        raise UserError(f"got an adapter of rank {rank}, vLLM serves ranks up to {LORA_RANKS[-1]}; train a smaller one")
    return room


def _vllm_version() -> str:
    import vllm

    return str(vllm.__version__)
