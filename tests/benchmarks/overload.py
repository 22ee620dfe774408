"""Three times what a teacher can do: every answer right or refused, in bounded time, without growing, healthy after.

`python -m tests.benchmarks.overload [SECONDS]`: real Ray Serve, real vLLM with a tiny model. Requests of 16 sequences
come at a rate that doesn't wait for answers, and nobody tries again. What is right was asked beforehand, one by one.

An engine on a CPU gains nothing from more sequences at a time, so that each request admitted beside another makes all
of them later: this teacher admits MAX_REQUESTS. On a GPU, where a step of 100 sequences takes hardly longer than a
step of one, the limit is what the engine runs at a time.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from ray import serve

from common import wire
from common.api import DistillRequest, DistillSequence
from common.teacher_client.settings import TOKEN_VARIABLE
from teacher_server.serve.app import build
from tests.benchmarks.report import finish
from tests.load import Load, closed_loop, open_loop
from tests.models import CPU_ENVIRONMENT, VOCABULARY_SIZE, save_tiny_llama
from tests.serving import ray_serve

TOKEN = "overload-token"
MAX_REQUESTS = 2
SEQUENCES, PROMPT, COMPLETION, TOP_K = 16, 300, 100, 16
DIFFERENT = 40
"""Different requests, asked in turn."""
SECONDS = 60
REPLICA = "ServeReplica:teacher"
TOLERANCE = 1e-3
TARGETS = {
    "p99_ratio": "below 3 (accepted under load / unloaded)",
    "wrong_answers": "0",
    "refused": "reported: requests answered 503 with Retry-After",
    "accepted": "reported",
    "rss_growth_mb": "below 50 (replica and engine, from before the overload to after)",
    "healthy_after": "1",
    "capacity_requests_per_s": "reported: closed loop, as many clients as are admitted",
    "accepted_requests_per_s": "reported: under overload",
}


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory() as folder, ray_serve(quiet=True, **{TOKEN_VARIABLE: TOKEN}) as address:
        model = save_tiny_llama(Path(folder) / "model")
        serve.run(build(teacher_args(model)), name="teacher", route_prefix="/teacher")
        figures = asyncio.run(measure(address + "/teacher", seconds))
    met = figures["p99_ratio"] < 3 and figures["wrong_answers"] == 0 and figures["rss_growth_mb"] < 50
    finish("overload", figures, TARGETS, met and figures["healthy_after"] == 1 and figures["refused"] > 0)


def teacher_args(model: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "engine": {
            "dtype": "float32",
            "max_length": 1024,
            "max_top_k": TOP_K,
            "kv_cache_gib": 0.05,  # less than was asked beforehand: all of it is resident before memory is measured
            "enforce_eager": True,
        },
        "limits": {"max_requests": MAX_REQUESTS},
        "replicas": {"environment": CPU_ENVIRONMENT, "num_cpus": 1},
    }


async def measure(url: str, seconds: float) -> dict[str, float]:
    """The figures."""
    bodies = [request(number).model_dump_json(exclude_none=True) for number in range(DIFFERENT)]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, timeout=120, limits=limits, trust_env=False) as http:

        async def ask(number: int) -> httpx.Response:
            return await http.post(url + "/v1/distill", content=bodies[number % DIFFERENT])

        right = [rows(await ask(number)) for number in range(DIFFERENT)]
        alone = await closed_loop(ask, clients=1, seconds=seconds / 4)
        capacity = await closed_loop(ask, clients=MAX_REQUESTS, seconds=seconds / 4)
        print(f"unloaded: p99 {alone.p99_s():.3f} s; capacity: {capacity.rate():.1f} requests/s", flush=True)
        before = memory_mb()
        load = await open_loop(ask, 3 * capacity.rate(), seconds)
        healthy = (await http.get(url + "/healthz")).status_code == 200 and is_right(await ask(0), right[0])
        after = memory_mb()
    refused = [answer for answer in load.answers.values() if answer.status_code == 503]
    print(f"overloaded: p99 {load.p99_s():.3f} s, {len(load.accepted())} accepted, {len(refused)} refused", flush=True)
    return {
        "p99_ratio": round(load.p99_s() / alone.p99_s(), 3),
        "wrong_answers": wrong(load, right),
        "refused": len(refused),
        "accepted": len(load.accepted()),
        "rss_growth_mb": round(after - before, 1),
        "healthy_after": int(healthy),
        "capacity_requests_per_s": round(capacity.rate(), 2),
        "accepted_requests_per_s": round(load.rate(), 2),
    }


def request(number: int) -> DistillRequest:
    draw = np.random.default_rng(number).integers(2, VOCABULARY_SIZE, (SEQUENCES, PROMPT + COMPLETION)).tolist()
    sequences = [
        DistillSequence(id=str(i), prompt_token_ids=row[:PROMPT], completion_token_ids=row[PROMPT:])
        for i, row in enumerate(draw)
    ]
    return DistillRequest(model="teacher", top_k=TOP_K, sequences=sequences, logprob_dtype="float32")


def wrong(load: Load, right: list[dict[str, Any]]) -> int:
    """Requests whose answer is neither right nor a refusal that says when to come again."""
    refused = {n for n, answer in load.answers.items() if answer.status_code == 503 and "Retry-After" in answer.headers}
    others = load.answers.keys() - refused
    return len(load.failures) + sum(not is_right(load.answers[n], right[n % DIFFERENT]) for n in others)


def is_right(answer: httpx.Response, right: dict[str, Any]) -> bool:
    """Whether each position's k logprobs are those of `right`; among equals, ids may change places."""
    try:
        got = rows(answer)
    except (wire.WireError, AssertionError):
        return False
    return got.keys() == right.keys() and all(
        np.array_equal(got[id].token_ids, right[id].token_ids)
        and np.abs(got[id].token_logprobs - right[id].token_logprobs).max() < TOLERANCE
        and np.abs(got[id].topk_logprobs - right[id].topk_logprobs).max() < TOLERANCE
        for id in right
    )


def rows(answer: httpx.Response) -> dict[str, wire.TeacherAnswer]:
    assert answer.status_code == 200, answer.text
    return {record.id: record for record in wire.decode(answer.content)}


def memory_mb() -> float:
    """Resident memory of the replica and vLLM's engine under it."""
    (replica,) = [process for process in psutil.Process().children(recursive=True) if REPLICA in process.cmdline()[0]]
    return sum(process.memory_info().rss for process in [replica, *replica.children(recursive=True)]) / 2**20


if __name__ == "__main__":
    main()
