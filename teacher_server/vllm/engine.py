"""The engine protocol on vLLM: an in-process AsyncLLM, asked for logprobs; for text only where it is needed."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from common.api import GenerateOptions, ServedModel, TeacherCard
from common.errors import UserError
from common.render import load_tokenizer
from common.wire import LogprobDtype
from teacher_server.adapters.capacity import AdapterCapacity, plan_capacity
from teacher_server.adapters.manager import AdapterManager
from teacher_server.adapters.registry import AdapterRegistry, UnknownModel
from teacher_server.adapters.store import AdapterStore
from teacher_server.engine import model_files
from teacher_server.engine.protocol import (
    CompletionLogprobs,
    EngineUnavailable,
    OutputDelta,
    SequenceError,
    WriteOptions,
)
from teacher_server.settings import TeacherServerSettings
from teacher_server.vllm import generation, quantization
from teacher_server.vllm.card import make_card
from teacher_server.vllm.completion_logprobs import from_flat
from teacher_server.vllm.engine_args import engine_args, start_llm
from teacher_server.vllm.lora import LoraLoader, lora_request
from teacher_server.vllm.rounding import rounded
from teacher_server.vllm.scoring import Scoring, exact, wanted_from
from teacher_server.vllm.stats import engine_processes, stat_loggers

SHUTDOWN_S = 2
"""Seconds that vLLM's processes have to end by themselves; then they are killed."""


class VllmEngine:
    """One base model and its LoRA adapters in this process, its weights in vLLM's worker processes."""

    def __init__(self, settings: TeacherServerSettings) -> None:
        self._settings = settings
        self._llm: AsyncLLM | None = None
        self._card: TeacherCard | None = None
        self._tokenizer: PreTrainedTokenizerFast | None = None
        self._processes: list[psutil.Process] = []
        self._steps = Counter(steps=0)
        self._scoring = Scoring(settings.engine)
        self._registry: AdapterRegistry | None = None
        self._following: asyncio.Task[None] | None = None
        self.adapters: AdapterManager | None = None

    async def start(self) -> None:
        """Load base and adapters. Raises UserError when they are missing or vLLM can't serve them so."""
        torch.set_num_threads(1)  # this process only rounds arrays; more threads would take the engine's cores
        folder = model_files.locate_model(self._settings.model)
        capacity = plan_capacity(self._settings.adapters, self._settings.adapter_loading)
        arguments = engine_args(self._settings, str(folder), capacity, **self._scoring.engine_arguments())
        others = engine_processes()
        self._llm = start_llm(arguments, stat_loggers(self._steps))
        self._processes = [process for process in engine_processes() if process not in others]
        try:
            await self._scoring.install(self._llm)
            await quantization.check_applied(self._llm, self._settings.engine.quantization)
            self._tokenizer = load_tokenizer(folder)
            self._card = make_card(self._settings, self._llm.model_config, self._tokenizer)
            loader = LoraLoader(self._llm, folder, capacity)
            await self._load_adapters(loader, capacity, model_files.model_revision(folder))
        except UserError:
            await self.close()
            raise

    async def _load_adapters(self, loader: LoraLoader, capacity: AdapterCapacity | None, stored: str) -> None:
        """Those of the settings, then those that this or another replica loaded later.

        `stored` is the revision of the base as it lies on disk.
        """
        await loader.prepare()
        revision = model_files.served_revision(stored, self._settings.engine.quantization)
        base = ServedModel(name=self._settings.name, adapter=False, revision=revision)
        self._registry = AdapterRegistry(loader, base, capacity.aliases if capacity else 0)
        for name, path in self._settings.adapters.items():
            await self._registry.put(name, path)
        loading = self._settings.adapter_loading
        if loading is not None:
            self.adapters = AdapterManager(self._registry, AdapterStore(loading.root, stored), loading.clients)
            await self.adapters.catch_up()
            self._following = asyncio.create_task(self.adapters.follow())

    def describe(self) -> TeacherCard:
        """What is served; only after `start`."""
        assert self._card is not None, "start the engine first"
        return self._card.model_copy(update={"models": self._models().served()})

    async def score(
        self, model: str, prompt: Sequence[int], completion: Sequence[int], top_k: int
    ) -> CompletionLogprobs:
        """The logprobs of `completion` after `prompt`, with the prefix cache's help where every one was computed."""
        first_row = len(prompt) - 1
        for params in self._scoring.attempts(first_row, top_k):
            output, revision = await self._run(model, [*prompt, *completion], params)
            if exact(output, first_row, completion):
                vocabulary, wanted = self.describe().vocabulary_size, wanted_from(output, first_row)
                return from_flat(output.prompt_logprobs, wanted, top_k, vocabulary, "scored", revision)
        raise SequenceError("the model's logprobs for this sequence are not numbers (NaN)")

    async def generate(
        self, model: str, prompt: Sequence[int], options: GenerateOptions, top_k: int
    ) -> CompletionLogprobs:
        """Write a completion; it ends with the terminator, if one was written within `max_tokens`."""
        output, revision = await self._run(model, list(prompt), generation.whole(options, top_k))
        completion = output.outputs[0]
        reason = generation.finish_reason(completion)
        return from_flat(completion.logprobs, 0, top_k, self.describe().vocabulary_size, reason, revision)

    async def write(
        self, model: str, prompt: Sequence[int], options: WriteOptions, top_k: int | None
    ) -> AsyncGenerator[OutputDelta]:
        """What `generate` writes, as it is written; closing it makes vLLM abort the request."""
        outputs = self._outputs(model, list(prompt), generation.growing(options, top_k))
        vocabulary = self.describe().vocabulary_size
        async with aclosing(outputs), aclosing(generation.deltas(outputs, top_k, vocabulary)) as deltas:
            async for delta in deltas:
                yield delta

    def rounded(self, logprobs: NDArray[np.float32], dtype: LogprobDtype) -> NDArray[np.floating]:
        """`logprobs` as `dtype`."""
        return rounded(logprobs, dtype)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The base model's tokenizer; only after `start`."""
        assert self._tokenizer is not None, "start the engine first"
        return self._tokenizer

    async def check_health(self) -> None:
        """Raises EngineUnavailable when vLLM's engine process is dead."""
        try:
            await self._started().check_health()
        except EngineDeadError as error:
            raise EngineUnavailable(str(error)) from None

    def counters(self) -> Mapping[str, int]:
        """Totals since the start."""
        return {**self._steps, **self._scoring.counters}

    async def kill(self) -> None:
        """End vLLM's engine process, a stopped one too; vLLM then fails whatever it was asked."""
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    async def close(self) -> None:
        """Stop vLLM's processes."""
        if self._following is not None:
            self._following.cancel()
        if self._llm is not None:
            self._llm.shutdown(timeout=SHUTDOWN_S)
            self._llm = None

    async def _run(self, model: str, token_ids: list[int], params: SamplingParams) -> tuple[RequestOutput, str]:
        """The finished output of one request, and the revision of the weights that gave it."""
        return [answer async for answer in self._outputs(model, token_ids, params)][-1]

    async def _outputs(
        self, model: str, token_ids: list[int], params: SamplingParams
    ) -> AsyncGenerator[tuple[RequestOutput, str]]:
        """What vLLM answers to one request, each time with the revision of the weights that gave it.

        Closing it makes vLLM abort the request.
        """
        try:
            with self._models().use(model) as adapter:
                running = self._started().generate(
                    tokens_input(token_ids), params, uuid.uuid4().hex, lora_request=lora_request(adapter)
                )
                async with aclosing(running):
                    async for output in running:
                        yield output, self._models().revision_of(adapter)
        except (VLLMClientError, UnknownModel) as error:
            raise SequenceError(str(error)) from None
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineUnavailable(str(error)) from None

    def _models(self) -> AdapterRegistry:
        if self._registry is None:
            raise EngineUnavailable("the engine isn't running")
        return self._registry

    def _started(self) -> AsyncLLM:
        if self._llm is None:
            raise EngineUnavailable("the engine isn't running")
        return self._llm
