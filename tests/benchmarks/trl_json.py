"""The peer's path for logprobs: `vllm serve`'s JSON, made by vLLM's own code and consumed by TRL's own code.

Legend: T = positions, k = entries per position.
"""

import asyncio
import importlib
import json
import logging
import time
import warnings
from typing import Any

import aiohttp
import numpy as np
import torch
from fastapi.responses import JSONResponse
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.generate.base.serving import clamp_prompt_logprobs
from vllm.entrypoints.openai.completion.protocol import CompletionResponse, CompletionResponseChoice
from vllm.entrypoints.serve.engine.protocol import UsageInfo
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsTensors

TRL = "trl==1.16.0"
WORKER = "trl.experimental.async_distillation.async_rollout_worker"
PROMPT = [2]
"""One token of prompt: TRL's server sends every position of the sequence, so that nothing is sent in vain here."""


def encode(output: LogprobsTensors, tokenizer: PreTrainedTokenizerFast) -> bytes:
    """The body with which `vllm serve` answers /v1/completions with `prompt_logprobs`, as its own code makes it."""
    k = output.logprobs.shape[1] - 1
    processor = LogprobsProcessor(
        tokenizer=tokenizer,
        logprobs=None,
        prompt_logprobs=[None],
        cumulative_logprob=None,
        num_logprobs=None,
        num_prompt_logprobs=k,
    )
    processor._update_prompt_logprobs(output)
    choice = CompletionResponseChoice(
        index=0,
        text="",
        finish_reason="length",
        prompt_logprobs=clamp_prompt_logprobs(processor.prompt_logprobs),
    )
    tokens = len(output.logprobs) + len(PROMPT)
    usage = UsageInfo(prompt_tokens=tokens, completion_tokens=1, total_tokens=tokens + 1)
    answer = CompletionResponse(model="teacher", created=int(time.time()), choices=[choice], usage=usage)
    return JSONResponse(answer.model_dump()).body


def consumer(top_k: int) -> Any:
    """TRL's rollout loop, as far as scoring needs it: its code, less the threads, queues and servers around it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, and knows vLLM up to 0.31
        worker = importlib.import_module(WORKER)
    logging.getLogger("trl").setLevel(logging.ERROR)
    loop = object.__new__(worker._AsyncRolloutLoop)
    loop.teacher_top_k, loop.teacher_temperature, loop.request_timeout = top_k, 1.0, 120
    return loop


def decode(loop: Any, body: bytes, completion: list[int]) -> list[torch.Tensor]:
    """From the body to tensors through TRL's `_score_with_teacher`, the socket left out."""

    async def post(*_: Any) -> Any:
        return json.loads(body.strip().decode("utf-8"))  # what aiohttp's `response.json()` does

    loop._post = post
    return asyncio.run(_score(loop, completion, ""))


def fetch(loop: Any, url: str, completion: list[int]) -> list[torch.Tensor]:
    """The same over HTTP, through TRL's own `_post`."""
    loop.__dict__.pop("_post", None)

    async def ask() -> list[torch.Tensor]:
        async with aiohttp.ClientSession() as loop.session:
            return await _score(loop, completion, url)

    return asyncio.run(ask())


async def _score(loop: Any, completion: list[int], url: str) -> list[torch.Tensor]:
    """Padded as its `_generate_and_score_one` pads, and made tensors as its collator makes them: [T, k + 1] each."""
    ids, logprobs = await loop._score_with_teacher(PROMPT, completion, url, "teacher")
    shape = (len(completion), loop.teacher_top_k + 1)
    padded_ids, padded_logprobs = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
    for row, (some_ids, some_logprobs) in enumerate(zip(ids, logprobs, strict=True)):
        padded_ids[row, : len(some_ids)] = some_ids
        padded_logprobs[row, : len(some_logprobs)] = some_logprobs
    return [torch.as_tensor(padded_ids), torch.as_tensor(padded_logprobs)]
