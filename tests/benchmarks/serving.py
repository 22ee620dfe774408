"""Servers that benchmarks ask, each up for the length of a `with` block, and the models they serve.

All run the same engine: one of vLLM's, with the settings that a teacher's `EngineSettings` give.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn
import vllm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cluster.demos.runner import application
from cluster.local.cluster_info import ClusterInfo
from cluster.local.nodes import free_ports
from cluster.local.processes import die_with_parent, end
from cluster.local.ray_cli import deploy
from teacher_server.settings import EngineSettings, ReplicaSettings, TeacherServerSettings
from tests.models import CPU_ENVIRONMENT, save_tiny_llama

TOKEN = "benchmark"
EOS = "<|eos|>"


def source_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `size` entries, trained on vLLM's source: text that is there wherever it serves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|pad|>", EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in sorted(Path(vllm.__file__).parent.rglob("*.py"))], trainer)
    assert tokenizer.get_vocab_size() == size
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token=EOS)


def save_model(folder: Path, vocabulary_size: int, **sizes: Any) -> Path:
    """A small random model in `folder` whose every id has a text."""
    save_tiny_llama(folder, vocab_size=vocabulary_size, max_position_embeddings=8192, **sizes)
    source_tokenizer(vocabulary_size).save_pretrained(folder)
    return folder


def teacher_settings(model: Path, engine: EngineSettings) -> TeacherServerSettings:
    """Of a teacher for this machine's processors, its token in a file beside its model."""
    token = model.with_suffix(".token")
    token.write_text(TOKEN + "\n")
    replicas = ReplicaSettings(environment=CPU_ENVIRONMENT)
    return TeacherServerSettings(model=str(model), engine=engine, token_file=token, replicas=replicas)


def serve_teachers(cluster: ClusterInfo, **teachers: TeacherServerSettings) -> dict[str, str]:
    """Deploy these teachers and no others as a user would; their addresses by name."""
    url = deploy(cluster, {"applications": [application(name, settings) for name, settings in teachers.items()]})
    return {name: f"{url}/{name}" for name in teachers}


class BareEngine:
    """vLLM's AsyncLLM in this process, with the arguments that the teacher's engine would give it."""

    def __init__(self, settings: TeacherServerSettings) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        from teacher_server.vllm.engine_args import engine_args  # reads CPU_ENVIRONMENT, which is set by then

        self._runner = asyncio.Runner()
        self._llm = self.run(_call(AsyncLLM.from_engine_args, engine_args(settings, settings.model)))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    async def score(self, token_ids: list[int], top_k: int | None) -> Any:
        """vLLM's own output for one sequence, with flat prompt logprobs or, without `top_k`, none."""
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        params = SamplingParams(
            max_tokens=1,
            temperature=0,
            prompt_logprobs=top_k,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        running: AsyncIterator[Any] = self._llm.generate(tokens_input(token_ids), params, uuid.uuid4().hex)
        return [output async for output in running][-1]

    async def write(self, token_ids: list[int], max_tokens: int, seed: int) -> int:
        """How many tokens vLLM writes behind a prompt, drawn at temperature 1 without logprobs."""
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        params = SamplingParams(
            max_tokens=max_tokens, temperature=1, seed=seed, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        running: AsyncIterator[Any] = self._llm.generate(tokens_input(token_ids), params, uuid.uuid4().hex)
        return len([output async for output in running][-1].outputs[0].token_ids)

    def close(self) -> None:
        self._llm.shutdown(timeout=2)
        del self._llm  # while what its destructor needs still exists
        self._runner.close()


@contextmanager
def bare_engine(settings: TeacherServerSettings) -> Iterator[BareEngine]:
    engine = BareEngine(settings)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def vllm_serve(settings: TeacherServerSettings, timeout_s: float = 300) -> Iterator[str]:
    """Address of vLLM's own OpenAI server for the model of `settings`, with the same engine settings.

    Raises TimeoutError when it isn't up after `timeout_s` seconds.
    """
    engine, port = settings.engine, free_ports(1)[0]
    options: dict[str, object] = {
        "--dtype": engine.dtype,
        "--max-model-len": engine.max_length + 1,
        "--max-logprobs": engine.max_top_k,
        "--max-num-batched-tokens": engine.max_batched_tokens or max(4096, engine.max_length + 1),
        "--max-num-seqs": engine.max_running_sequences,
        "--kv-cache-memory-bytes": int((engine.kv_cache_gib or 1) * 2**30),
        "--served-model-name": settings.name,
        "--host": "127.0.0.1",
        "--port": port,
        "--uvicorn-log-level": "warning",
    }
    flags = ["--enforce-eager", "--no-enable-chunked-prefill"]
    flags.append("--enable-prefix-caching" if engine.prefix_caching else "--no-enable-prefix-caching")
    # What `vllm serve` runs; the command itself looks for a package named vllm, which its CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", settings.model, *flags]
    command += [str(part) for option in options.items() for part in option]
    process = subprocess.Popen(
        command, env=os.environ | CPU_ENVIRONMENT, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:
        await_health(f"http://127.0.0.1:{port}/health", process, timeout_s)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            server = psutil.Process(process.pid)
            end([server, *server.children(recursive=True)], grace_s=10)
        process.wait()


@contextmanager
def answering(bodies: Mapping[str, bytes]) -> Iterator[str]:
    """Address of a server, in a thread of its own, that answers a POST to each path with the same prepared body."""

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(bodies[request.url.path], media_type="application/json")

    app = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in bodies])
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)  # uvicorn offers no other sign
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def _call(make: Any, *arguments: Any) -> Any:
    """AsyncLLM must be made where its event loop runs."""
    return make(*arguments)


def await_health(url: str, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Return when `url` answers. Raises TimeoutError when it doesn't, or `process` has ended."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{' '.join(process.args)} isn't up; see its messages above") from None
            time.sleep(0.5)  # it can only be asked
