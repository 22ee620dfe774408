"""One distill request: every sequence checked, answered by the engine at once with the others, sent as it finishes."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from common import wire
from common.api import DistillRequest, DistillSequence, ServedModel, TeacherCard
from teacher_server.engine.metrics import Meter
from teacher_server.engine.protocol import CompletionLogprobs, Engine, EngineUnavailable, SequenceError
from teacher_server.engine.validation import check_sequence
from teacher_server.http.admission import check_top_k, find_model
from teacher_server.http.errors import ApiError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def check_request(request: DistillRequest, card: TeacherCard) -> ServedModel:
    """The model that is asked for. Raises ApiError when the request as a whole can't be answered."""
    model = find_model(request.model, card)
    check_top_k(request.top_k, card, "top_k")
    samples = request.samples()
    ids = {sample.id for sample in samples}
    if len(ids) < len(samples):
        message = f"sequences: got {len(samples)} with {len(ids)} different ids; give each its own"
        raise ApiError(422, "invalid_value", message, "sequences")
    return model


async def stream_answers(
    engine: Engine, request: DistillRequest, model: ServedModel, meter: Meter
) -> AsyncGenerator[bytes]:
    """The Arrow IPC stream of the request's answers. Closing it cancels the sequences that aren't finished.

    When the engine dies midway, the stream ends without its end marker: readers know it as cut off and ask again.
    """
    schema = wire.schema(request.top_k, request.logprob_dtype)
    tasks = [asyncio.create_task(answer(engine, request, model, sample)) for sample in request.samples()]
    try:
        yield schema.serialize().to_pybytes()
        for finished in asyncio.as_completed(tasks):
            record = await finished
            meter.answered(record.finish_reason, len(record))
            yield wire.to_batch(record, schema).serialize().to_pybytes()
        yield wire.END_MARKER
    except EngineUnavailable as error:
        meter.cut()
        logger.error("a stream of %d sequences is cut off: %s", len(tasks), error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answer(
    engine: Engine, request: DistillRequest, model: ServedModel, sequence: DistillSequence
) -> wire.TeacherAnswer:
    """The record of one sequence; a sequence that can't be answered gets a record with its error."""
    try:
        check_sequence(sequence, engine.describe())
        logprobs = await _ask(engine, request, sequence)
    except SequenceError as error:
        return wire.failed(sequence.id, model.name, model.revision, str(error), request.top_k, request.logprob_dtype)
    return wire.TeacherAnswer(
        id=sequence.id,
        model=model.name,
        revision=logprobs.revision,
        finish_reason=logprobs.finish_reason,
        error=None,
        token_ids=logprobs.token_ids,
        token_logprobs=logprobs.token_logprobs,
        topk_ids=logprobs.topk_ids,
        topk_logprobs=engine.rounded(logprobs.topk_logprobs, request.logprob_dtype),
        tail_logprob=logprobs.tail_logprob,
    )


async def _ask(engine: Engine, request: DistillRequest, sequence: DistillSequence) -> CompletionLogprobs:
    if sequence.generate is not None:
        return await engine.generate(request.model, sequence.prompt_token_ids, sequence.generate, request.top_k)
    assert sequence.completion_token_ids is not None
    return await engine.score(request.model, sequence.prompt_token_ids, sequence.completion_token_ids, request.top_k)
