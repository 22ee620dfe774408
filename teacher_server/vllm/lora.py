"""Adapters into and out of a running vLLM engine."""

import uuid
from pathlib import Path

import numpy as np
from vllm.inputs.engine import tokens_input
from vllm.logprobs import FlatLogprobs
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.adapters.capacity import AdapterCapacity
from teacher_server.adapters.registry import LoadedAdapter
from teacher_server.engine import model_files
from teacher_server.engine.protocol import WARM_UP_TOKENS, EngineUnavailable


def lora_request(adapter: LoadedAdapter | None) -> LoRARequest | None:
    """What a request to vLLM carries; None for the base alone."""
    return None if adapter is None else LoRARequest(adapter.name, adapter.number, str(adapter.path.absolute()))


class LoraLoader:
    """The loader of an AdapterRegistry."""

    def __init__(self, llm: AsyncLLM, base: Path, capacity: AdapterCapacity | None) -> None:
        self._llm = llm
        self._shapes = model_files.model_shapes(base)
        self._capacity = capacity

    async def load(self, alias: str, adapter: LoadedAdapter) -> None:
        """Load and try it. Raises UserError when it doesn't fit the engine or its base, or answers with no numbers."""
        assert self._capacity is not None, "without room there are neither adapters nor a way to load them"
        self._capacity.check(alias, adapter.path)
        peft_files.check_fits(alias, adapter.path, self._shapes)
        request = lora_request(adapter)
        assert request is not None
        try:
            await self._llm.add_lora(request)
        except EngineDeadError as error:
            raise EngineUnavailable(str(error)) from None
        except Exception as error:  # noqa: BLE001 - vLLM hands on a worker's error, of whatever kind, as a plain Exception
            reason = " ".join(str(error).split())
            raise UserError(f"adapter {alias}: vLLM can't load {adapter.path}: {reason}") from None
        await self._try(alias, request)

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Free its place; nothing happens when it has none."""
        try:
            await self._llm.remove_lora(adapter.number)
        except EngineDeadError:
            return  # it took everything along

    async def _try(self, alias: str, request: LoRARequest) -> None:
        params = SamplingParams(
            max_tokens=WARM_UP_TOKENS,
            temperature=0,
            logprobs=1,
            prompt_logprobs=1,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_reading_prefix_cache=True,
        )
        prompt = tokens_input([1] * WARM_UP_TOKENS)
        running = self._llm.generate(prompt, params, uuid.uuid4().hex, lora_request=request)
        try:
            output = [output async for output in running][-1]
        except EngineDeadError as error:
            raise EngineUnavailable(str(error)) from None
        scored, written = output.prompt_logprobs, output.outputs[0].logprobs
        assert isinstance(scored, FlatLogprobs)
        assert isinstance(written, FlatLogprobs)
        if not np.isfinite([*scored.logprobs[1:], *written.logprobs]).all():
            raise UserError(
                f"adapter {alias}: its answers are not numbers; were its weights saved after a diverged run?"
            )
