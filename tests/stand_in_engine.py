"""A whole engine without weights: token x is followed by a fixed distribution drawn from the seed x.

Legend: V = vocabulary size.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from common.api import GenerateOptions, ServedModel, TeacherCard
from common.errors import UserError
from common.sequences import FinishReason
from common.wire import LogprobDtype
from teacher_server.adapters.manager import AdapterManager
from teacher_server.adapters.registry import AdapterRegistry, LoadedAdapter, UnknownModel
from teacher_server.adapters.store import AdapterStore
from teacher_server.engine.protocol import (
    CompletionLogprobs,
    EngineUnavailable,
    OutputDelta,
    SequenceError,
    WriteOptions,
)
from teacher_server.vllm.completion_logprobs import tail_logprob
from tests.stand_in_tokenizer import VOCABULARY_SIZE, make_tokenizer

EOS = 1
REFUSED_TOKEN = VOCABULARY_SIZE - 1


class StandInLoader:
    """Loads any adapter that isn't filled with NaN, into nothing; it knows what it holds."""

    def __init__(self) -> None:
        self.held: list[str] = []

    async def load(self, alias: str, adapter: LoadedAdapter) -> None:
        await asyncio.sleep(0)
        self.held.append(adapter.name)
        weight = next(iter(load_file(adapter.path / "adapter_model.safetensors").values()))
        if np.isnan(weight).any():
            raise UserError(f"adapter {alias}: its answers are not numbers")

    async def unload(self, adapter: LoadedAdapter) -> None:
        await asyncio.sleep(0)
        self.held.remove(adapter.name)


class StandInEngine:
    """Answers from a bigram model; `gate`, when given, holds whatever is being scored until it is set.

    `pen`, when given, holds what is written behind its first token.
    """

    def __init__(
        self,
        gate: asyncio.Event | None = None,
        adapters_root: Path | None = None,
        administrators: tuple[str, ...] | None = None,
        pen: asyncio.Event | None = None,
    ) -> None:
        self.gate = gate
        self.pen = pen
        self.loader = StandInLoader()
        self.models = AdapterRegistry(self.loader, ServedModel(name="teacher", adapter=False, revision="r0"), 2)
        folder = None if adapters_root is None else AdapterStore(adapters_root, "r0")
        self.adapters = None if folder is None else AdapterManager(self.models, folder, administrators)
        self.dead = False
        self.started = False
        self.working = 0
        self.cancelled = 0
        self.totals = Counter(steps=0)
        self.asked: list[tuple[str, str, int | None]] = []

    async def start(self) -> None:
        self.started = True

    def describe(self) -> TeacherCard:
        return TeacherCard(
            models=[*self.models.served(), ServedModel(name="expert", adapter=True, revision="r0+r1")],
            tokenizer_fingerprint="f",
            chat_template_fingerprint="c",
            terminators={"toolbench": EOS, "chat": EOS},
            end_token_ids=[EOS],
            vocabulary_size=VOCABULARY_SIZE,
            max_top_k=8,
            max_length=64,
            abilities=["score", "generate"],
            dtype="float32",
            versions={"wire": "1"},
        )

    async def score(
        self, model: str, prompt: Sequence[int], completion: Sequence[int], top_k: int
    ) -> CompletionLogprobs:
        with self._resolved(model) as revision:
            await self._work(model, "score", top_k, prompt)
        return _scored(prompt, completion, top_k, "scored", revision)

    async def generate(
        self, model: str, prompt: Sequence[int], options: GenerateOptions, top_k: int
    ) -> CompletionLogprobs:
        with self._resolved(model) as revision:
            await self._work(model, "generate", top_k, prompt)
        steps = list(_steps(prompt, WriteOptions(**options.model_dump()), skip_special_tokens=False))
        written = [token for token, _, _ in steps]
        return _scored(prompt, written, top_k, steps[-1][2] or "length", revision)

    async def write(
        self, model: str, prompt: Sequence[int], options: WriteOptions, top_k: int | None
    ) -> AsyncGenerator[OutputDelta]:
        with self._resolved(model) as revision:
            async with self._working(model, "write", top_k, prompt):
                written: list[int] = []
                for token, text, reason in _steps(prompt, options, skip_special_tokens=True):
                    if written and self.pen is not None:
                        await self.pen.wait()
                    await self.check_health()
                    before, written = [*prompt, *written], [*written, token]
                    why = reason or "length"
                    logprobs = None if top_k is None else _scored(before, [token], top_k, why, revision)
                    yield OutputDelta(text, [token], logprobs, reason, revision)

    def rounded(self, logprobs: NDArray[np.float32], dtype: LogprobDtype) -> NDArray[np.floating]:
        return logprobs.astype(dtype)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return make_tokenizer()

    async def check_health(self) -> None:
        if self.dead:
            raise EngineUnavailable("the engine is dead")

    def counters(self) -> Mapping[str, int]:
        return self.totals

    async def kill(self) -> None:
        self.dead = True
        if self.gate is not None:
            self.gate.set()

    async def close(self) -> None:
        self.started = False

    @contextmanager
    def _resolved(self, model: str) -> Iterator[str]:
        """The revision of what answers to `model`; "expert" is always there."""
        if model == "expert":
            yield "r0+r1"
            return
        try:
            with self.models.use(model) as adapter:
                yield self.models.revision_of(adapter)
        except UnknownModel as error:
            raise SequenceError(str(error)) from None

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        async with self._working(model, task, top_k, prompt):
            if self.gate is not None and task == "score":
                await self.gate.wait()
            await self.check_health()

    @asynccontextmanager
    async def _working(self, model: str, task: str, top_k: int | None, prompt: Sequence[int]) -> AsyncGenerator[None]:
        self.asked.append((model, task, top_k))
        if REFUSED_TOKEN in prompt:
            raise SequenceError("this engine refuses that token")
        self.working += 1
        try:
            yield
            self.totals["steps"] += 1
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.working -= 1


def _steps(
    prompt: Sequence[int], options: WriteOptions, skip_special_tokens: bool
) -> Iterator[tuple[int, str, FinishReason | None]]:
    """Each token that is written, the text that is certain with it, and why it is the last."""
    stream = DecodeStream(ids=list(prompt), skip_special_tokens=skip_special_tokens)
    backend = make_tokenizer().backend_tokenizer
    held = max(map(len, options.stop), default=1) - 1
    token, text, shown = prompt[-1], "", 0
    random = np.random.default_rng(options.seed)
    ending = [*options.stop_token_ids, *([] if options.ignore_eos else [EOS])]
    for count in range(1, options.max_tokens + 1):
        logprobs = _logprobs(token)
        logprobs[[EOS, *ending] if count <= options.min_tokens else []] = -np.inf
        token = _draw(logprobs, options, random)
        ends = token in ending
        text += "" if ends else stream.step(backend, token) or ""
        stops = [text.find(stop) for stop in options.stop if stop in text]
        reason: FinishReason | None = "stop" if ends or stops else "length" if count == options.max_tokens else None
        text = text[: min(stops)] if stops else text
        certain = len(text) if reason else max(shown, len(text) - held)
        yield token, text[shown:certain], reason
        if reason:
            return
        shown = certain


def _draw(logprobs: NDArray[np.float64], options: WriteOptions, random: np.random.Generator) -> int:
    if options.temperature == 0:
        return int(logprobs.argmax())
    masses = np.exp(logprobs / options.temperature)
    order = np.argsort(-masses)[: options.top_k or None]
    nucleus = order[np.cumsum(masses[order]) - masses[order] < options.top_p * masses.sum()]
    return int(random.choice(nucleus, p=masses[nucleus] / masses[nucleus].sum()))


def _logprobs(token: int) -> NDArray[np.float64]:
    logits = np.random.default_rng(token).normal(0, 3, VOCABULARY_SIZE)
    return logits - np.log(np.exp(logits).sum())


def _scored(
    prompt: Sequence[int], completion: Sequence[int], top_k: int, finish_reason: FinishReason, revision: str
) -> CompletionLogprobs:
    logprobs = np.stack([_logprobs(token) for token in [*prompt, *completion][len(prompt) - 1 : -1]])  # [T, V]
    topk_ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :top_k].astype(np.int32)
    topk_logprobs = np.take_along_axis(logprobs, topk_ids, axis=1).astype(np.float32)
    return CompletionLogprobs(
        token_ids=np.array(completion, np.int32),
        token_logprobs=logprobs[np.arange(len(completion)), list(completion)].astype(np.float32),
        topk_ids=topk_ids,
        topk_logprobs=topk_logprobs,
        tail_logprob=tail_logprob(topk_logprobs, VOCABULARY_SIZE),
        finish_reason=finish_reason,
        revision=revision,
    )
