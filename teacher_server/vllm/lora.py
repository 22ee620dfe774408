"""Adapters into and out of a running vLLM engine; one that would leave the base's answers as they are is refused."""

import logging
import uuid
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import safe_open
from vllm.inputs.engine import TokensInput, tokens_input
from vllm.logprobs import FlatLogprobs
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.adapters.capacity import AdapterCapacity
from teacher_server.adapters.registry import LoadedAdapter
from teacher_server.engine import model_files
from teacher_server.engine.protocol import WARM_UP_TOKENS, EngineUnavailable
from teacher_server.vllm.patches import compat

logger = logging.getLogger(__name__)

PROBE_TOKENS = 32
"""Length of the prompt that an adapter is tried on: ids from all over the vocabulary."""
SHOWN_NAMES = 3
"""Modules that a message names before it counts the rest."""


def lora_request(adapter: LoadedAdapter | None) -> LoRARequest | None:
    """What a request to vLLM carries; None for the base alone."""
    return None if adapter is None else LoRARequest(adapter.name, adapter.number, str(adapter.path.absolute()))


class LoraLoader:
    """The loader of an AdapterRegistry."""

    def __init__(self, llm: AsyncLLM, base: Path, capacity: AdapterCapacity | None) -> None:
        self._llm = llm
        self._shapes = model_files.model_shapes(base)
        self._capacity = capacity
        self._base_logprobs: list[float] | None = None

    async def prepare(self) -> None:
        """Before any is loaded on a CPU: keep adapters from the tokens of the base that share a batch with theirs.

        Raises UserError when that isn't known to work with this vLLM.
        """
        if self._capacity is None or not current_platform.is_cpu():
            return
        if not self._llm.vllm_config.parallel_config.worker_extension_cls:
            raise UserError(
                f"got adapters on a CPU with a vLLM that isn't known ({'; '.join(compat.moved())}): it may add them to "
                f"the base's own answers. Install {compat.TESTED_VERSION}, or serve the base without adapters"
            )
        await self._llm.collective_rpc("install_lora_ops")

    async def load(self, alias: str, adapter: LoadedAdapter) -> None:
        """Load and try it.

        Raises UserError when it doesn't fit the engine or its base, changes nothing, or answers with no numbers.
        """
        assert self._capacity is not None, "without capacity there are neither adapters nor a way to load them"
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
        await self._check_used(alias, adapter)
        await self._check_answers(alias, adapter.path, request)

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Free its place; nothing happens when it has none."""
        try:
            await self._llm.remove_lora(adapter.number)
        except EngineDeadError:
            return  # it took everything along

    async def _check_used(self, alias: str, adapter: LoadedAdapter) -> None:
        """Raises UserError naming the modules that the adapter changes and no worker has."""
        if not self._llm.vllm_config.parallel_config.worker_extension_cls:
            return
        unused_by_each = await self._llm.collective_rpc("unused_lora_modules", args=(adapter.number,))
        unused = sorted(set.intersection(*map(set, unused_by_each)))
        if unused:
            more = f" and {len(unused) - SHOWN_NAMES} more" if len(unused) > SHOWN_NAMES else ""
            raise UserError(
                f"adapter {alias} has weights for {', '.join(unused[:SHOWN_NAMES])}{more}, but the base has no such "
                "module: it would answer without them. Expected the base's own names behind `base_model.model.`, as "
                "PEFT saves them; was it trained under another wrapper, or on another base?"
            )

    async def _check_answers(self, alias: str, path: Path, request: LoRARequest) -> None:
        """Raises UserError unless its answers are numbers, and others than the base's."""
        logprobs = await self._probe(request)
        if not np.isfinite(logprobs).all():
            raise UserError(
                f"adapter {alias}: its answers are not numbers; were its weights saved after a diverged run?"
            )
        if _is_untrained(path):
            logger.warning("adapter %s changes nothing: each lora_B in %s is zero, as before any training", alias, path)
            return
        if self._base_logprobs is None:
            self._base_logprobs = await self._probe(None)
        if logprobs == self._base_logprobs:
            raise UserError(
                f"adapter {alias} changes nothing: with the weights in {path} every answer is the base's to the digit; "
                "are they named as PEFT names them on this base, and large enough to count in its dtype?"
            )

    async def _probe(self, request: LoRARequest | None) -> list[float]:
        """Logprobs of a short prompt's tokens, and of a few written after it."""
        running = self._llm.generate(self._prompt, _PROBE_PARAMS, uuid.uuid4().hex, lora_request=request)
        try:
            output = [output async for output in running][-1]
        except EngineDeadError as error:
            raise EngineUnavailable(str(error)) from None
        scored, written = output.prompt_logprobs, output.outputs[0].logprobs
        assert isinstance(scored, FlatLogprobs)
        assert isinstance(written, FlatLogprobs)
        return [*scored.logprobs[1:], *written.logprobs]

    @cached_property
    def _prompt(self) -> TokensInput:
        config = self._llm.model_config
        length = max(1, min(PROBE_TOKENS, config.max_model_len - WARM_UP_TOKENS))
        return tokens_input(np.linspace(1, config.get_vocab_size() - 1, length, dtype=int).tolist())


_PROBE_PARAMS = SamplingParams(
    max_tokens=WARM_UP_TOKENS,
    temperature=0,
    logprobs=1,
    prompt_logprobs=1,
    flat_logprobs=True,
    detokenize=False,
    output_kind=RequestOutputKind.FINAL_ONLY,
    skip_reading_prefix_cache=True,
)


def _is_untrained(path: Path) -> bool:
    """Whether all second factors are zero, as LoRA begins with."""
    with safe_open(path / "adapter_model.safetensors", framework="pt") as weights:
        seconds = [name for name in weights.keys() if ".lora_B" in name]  # noqa: SIM118 - it is no mapping
        return not any(weights.get_tensor(name).any() for name in seconds)
