"""A whole engine without weights: token x is followed by a fixed distribution drawn from the seed x.

Legend: V = vocabulary size.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from common.api import GenerateOptions, ServedModel, TeacherCard
from common.sequences import FinishReason
from teacher_server.engine import EngineUnavailable, Positions, SequenceRefused
from teacher_server.positions import tail_logprob

VOCABULARY_SIZE = 32
EOS = 1
REFUSED_TOKEN = 31


class StandInEngine:
    """Answers from a bigram model; `gate`, when given, holds whatever is being scored until it is set."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.gate = gate
        self.dead = False
        self.started = False
        self.working = 0
        self.cancelled = 0
        self.totals = Counter(steps=0)
        self.asked: list[tuple[str, str, int]] = []

    async def start(self) -> None:
        self.started = True

    def describe(self) -> TeacherCard:
        return TeacherCard(
            models=[
                ServedModel(name="teacher", adapter=False, revision="r0"),
                ServedModel(name="expert", adapter=True, revision="r0+r1"),
            ],
            tokenizer_fingerprint="f",
            vocabulary_size=VOCABULARY_SIZE,
            max_top_k=8,
            max_length=64,
            abilities=["score", "generate"],
            dtype="float32",
            versions={"wire": "1"},
        )

    async def score(self, model: str, prompt: Sequence[int], completion: Sequence[int], top_k: int) -> Positions:
        await self._work(model, "score", top_k, prompt)
        return _positions(prompt, completion, top_k, "scored")

    async def generate(self, model: str, prompt: Sequence[int], options: GenerateOptions, top_k: int) -> Positions:
        await self._work(model, "generate", top_k, prompt)
        written: list[int] = []
        while len(written) < options.max_tokens:
            written.append(int(_logprobs([*prompt, *written][-1]).argmax()))
            if written[-1] in (EOS, *options.stop_token_ids):
                return _positions(prompt, written, top_k, "stop")
        return _positions(prompt, written, top_k, "length")

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

    async def _work(self, model: str, task: str, top_k: int, prompt: Sequence[int]) -> None:
        self.asked.append((model, task, top_k))
        if REFUSED_TOKEN in prompt:
            raise SequenceRefused("this engine refuses that token")
        self.working += 1
        try:
            if self.gate is not None and task == "score":
                await self.gate.wait()
            await self.check_health()
            self.totals["steps"] += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1


def _logprobs(token: int) -> NDArray[np.float64]:
    logits = np.random.default_rng(token).normal(0, 3, VOCABULARY_SIZE)
    return logits - np.log(np.exp(logits).sum())


def _positions(prompt: Sequence[int], completion: Sequence[int], top_k: int, finish_reason: FinishReason) -> Positions:
    logprobs = np.stack([_logprobs(token) for token in [*prompt, *completion][len(prompt) - 1 : -1]])  # [T, V]
    topk_ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :top_k].astype(np.int32)
    topk_logprobs = np.take_along_axis(logprobs, topk_ids, axis=1).astype(np.float32)
    return Positions(
        token_ids=np.array(completion, np.int32),
        token_logprobs=logprobs[np.arange(len(completion)), list(completion)].astype(np.float32),
        topk_ids=topk_ids,
        topk_logprobs=topk_logprobs,
        tail_logprob=tail_logprob(topk_logprobs, VOCABULARY_SIZE),
        finish_reason=finish_reason,
    )
