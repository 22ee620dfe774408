"""A fleet of teachers that only wait, behind one address, as a process of its own.

`python -m tests.benchmarks.waiting_teachers FLEET.json`. A replica works on `at_once` sequences at a time, each for
`wait_s`; each request goes to the less busy of two that are drawn, as Ray Serve's router sends it, and is refused with
503 and Retry-After when that one has `max_requests`. Answers are real ones of the wire: whatever the token, it is the
likeliest of the k, each half as likely as the one before.
"""

import asyncio
import math
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import PreTrainedTokenizerFast

from common import wire
from common.api import DistillRequest, DistillSequence, ServedModel, TeacherCard
from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.render import terminators
from teacher_server.settings import LimitSettings
from tests.benchmarks.workload import ROW

REVISION = "r0"
LIMITS = LimitSettings()


class Fleet(BaseModel):
    """What stands behind the address."""

    port: int
    replicas: int
    at_once: int
    wait_s: float
    card: TeacherCard


@dataclass
class Replica:
    """One of them."""

    places: asyncio.Semaphore
    requests: int = field(default=0)


class Router:
    """Sends requests to replicas."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._replicas = [Replica(asyncio.Semaphore(fleet.at_once)) for _ in range(fleet.replicas)]

    async def card(self, _: Request) -> Response:
        return Response(self._fleet.card.model_dump_json(), media_type="application/json")

    async def distill(self, request: Request) -> Response:
        asked = DistillRequest.model_validate_json(await request.body())
        replica = min(random.choices(self._replicas, k=2), key=lambda each: each.requests)
        if replica.requests >= LIMITS.max_requests:
            body = {"error": {"message": "this replica is full", "type": "overloaded_error"}}
            return JSONResponse(body, 503, {"Retry-After": str(LIMITS.retry_after_s)})
        replica.requests += 1
        try:
            answers = [await self._answer(replica, sequence, asked) for sequence in asked.samples()]
        finally:
            replica.requests -= 1
        return Response(wire.encode(answers, asked.top_k, asked.logprob_dtype))

    async def _answer(self, replica: Replica, sequence: DistillSequence, asked: DistillRequest) -> wire.TeacherAnswer:
        if sequence.id.startswith(ROW):  # the handshake's own questions don't wait
            async with replica.places:
                await asyncio.sleep(self._fleet.wait_s)
        return answer(sequence, asked, self._fleet.card.vocabulary_size)


def answer(sequence: DistillSequence, asked: DistillRequest, vocabulary_size: int) -> wire.TeacherAnswer:
    """To a sequence to score; or one of the token that its prompt ends with, over and over."""
    tokens, reason = sequence.completion_token_ids, "scored"
    if sequence.generate is not None:
        tokens, reason = [sequence.prompt_token_ids[-1]] * sequence.generate.max_tokens, "length"
    written = np.array(tokens, np.int32)  # [T]
    ids = (written[:, None] + np.arange(asked.top_k, dtype=np.int32)) % vocabulary_size  # [T, k]
    logprobs = -math.log(2) * np.arange(1, asked.top_k + 1)  # [k]
    return wire.TeacherAnswer(
        sequence.id,
        asked.model,
        REVISION,
        reason,
        None,
        written,
        np.full(len(written), logprobs[0], np.float32),
        ids.astype(np.int32),
        np.tile(logprobs, (len(written), 1)).astype(asked.logprob_dtype),
        np.full(len(written), logprobs[-1], np.float32),
    )


def card(tokenizer: PreTrainedTokenizerFast, vocabulary_size: int, top_k: int, max_length: int) -> TeacherCard:
    """What such a teacher says about itself."""
    return TeacherCard(
        models=[ServedModel(name="teacher", adapter=False, revision=REVISION)],
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        chat_template_fingerprint=chat_template_fingerprint(tokenizer),
        terminators=terminators(tokenizer),
        end_token_ids=[tokenizer.eos_token_id],
        vocabulary_size=vocabulary_size,
        max_top_k=top_k,
        max_length=max_length,
        abilities=["score", "generate"],
        dtype="float32",
        versions={"wire": str(wire.SCHEMA_VERSION)},
    )


def main() -> None:
    fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
    router = Router(fleet)
    routes = [Route("/v1/teacher", router.card), Route("/v1/distill", router.distill, methods=["POST"])]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=fleet.port, log_level="warning")


if __name__ == "__main__":
    main()
