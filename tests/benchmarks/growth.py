"""Requests/s and p99 with 1 to 16 replicas of a teacher whose engine only waits, and where the router is the limit.

`python -m tests.benchmarks.growth [SECONDS]`, seconds for each number of replicas. Real Ray Serve, real replicas; an
engine of AT_ONCE places keeps each sequence for WAIT_S, so that a replica can answer AT_ONCE / WAIT_S requests/s and
needs hardly any CPU. The router's limit is asked with sequences that don't wait. Router, replicas and the load itself
share this machine's cores.
"""

import asyncio
import sys
from typing import Any

import httpx
from ray.serve import Application

from common.api import DistillRequest, DistillSequence
from common.teacher_client.settings import TOKEN_VARIABLE
from tests.benchmarks.report import finish
from tests.load import Load, closed_loop
from tests.serving import application, deploy_config, ray_serve
from tests.waiting_engine import WARM_UP_TOKEN, waiting_engine

TOKEN = "growth-token"
WAIT_S, AT_ONCE = 1.6, 4
CLIENTS = 12
"""For each replica: three times what it answers at once, so that a place hardly ever waits for the router."""
ROUTABLE = 0.7
"""The share of the router's limit up to which growth must be linear; beyond it, the router is what is measured."""
ROUTER_CLIENTS = 32
REPLICAS = (1, 2, 4, 8, 16)
SECONDS = 20
TARGETS = {f"linearity_{count}": "at least 0.9, within 0.7 of the router's limit" for count in REPLICAS[1:]} | {
    "router_limit_requests_per_s": "reported: 16 replicas that don't wait, 32 clients on the same cores",
    **{f"requests_per_s_{count}": "reported" for count in REPLICAS},
    **{f"p99_s_{count}": f"reported; {CLIENTS / AT_ONCE * WAIT_S:g} with an ideal router" for count in REPLICAS},
}


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    figures: dict[str, float] = {}
    with ray_serve(quiet=True, **{TOKEN_VARIABLE: TOKEN}) as address:
        for count in REPLICAS:
            scale(count)
            load = asyncio.run(ask_all(address, token=3, clients=CLIENTS * count, seconds=seconds))
            figures[f"requests_per_s_{count}"] = round(load.rate(), 2)
            figures[f"p99_s_{count}"] = round(load.p99_s(), 3)
            if count > 1:
                figures[f"linearity_{count}"] = round(load.rate() / figures["requests_per_s_1"] / count, 3)
            print(f"{count} replicas: {load.rate():.1f} requests/s, p99 {load.p99_s():.2f} s", flush=True)
        limit = asyncio.run(ask_all(address, token=WARM_UP_TOKEN, clients=ROUTER_CLIENTS, seconds=seconds))
        figures["router_limit_requests_per_s"] = round(limit.rate(), 1)
    finish("growth", figures, TARGETS, all(is_linear(figures, count) for count in REPLICAS[1:]))


def is_linear(figures: dict[str, float], replicas: int) -> bool:
    """Whether so many replicas answer what is wanted of them, if the router can route as much."""
    routable = replicas * figures["requests_per_s_1"] <= ROUTABLE * figures["router_limit_requests_per_s"]
    return figures[f"linearity_{replicas}"] >= 0.9 or not routable


def scale(replicas: int) -> None:
    """Have so many replicas; those that stand stay."""
    config: dict[str, Any] = {
        "name": "teacher",
        "route_prefix": "/teacher",
        "import_path": "tests.benchmarks.growth:build",
        "deployments": [{"name": "TeacherReplica", "num_replicas": replicas}],
    }
    deploy_config(config, replicas)


def build(args: dict[str, Any]) -> Application:
    """A teacher whose engine only waits."""
    return application(waiting_engine(WAIT_S, AT_ONCE), replicas={"num_cpus": 0.1})


async def ask_all(address: str, token: int, clients: int, seconds: float) -> Load:
    """Closed loop of so many clients, each with a connection of its own. Raises RuntimeError for any other answer."""
    sequence = DistillSequence(id="s", prompt_token_ids=[token], completion_token_ids=[5])
    request = DistillRequest(model="teacher", top_k=4, sequences=[sequence])
    body = request.model_dump_json(exclude_none=True)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits, trust_env=False) as http:

        async def ask(number: int) -> httpx.Response:
            return await http.post(address + "/teacher/v1/distill", content=body)

        await closed_loop(ask, clients, seconds=2)  # connections, and replicas' first requests
        load = await closed_loop(ask, clients, seconds)
    if load.failures or len(load.accepted()) < len(load.answers):
        raise RuntimeError(f"{len(load.failures)} failures, {len(load.answers) - len(load.accepted())} refusals")
    return load


if __name__ == "__main__":
    main()
