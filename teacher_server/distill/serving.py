"""One distill request: every sequence checked, answered by the engine at once with the others, sent as it finishes."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from common import wire
from common.api import DistillRequest, DistillSequence, ServedModel, TeacherCard
from teacher_server.engine.metrics import Meter
from teacher_server.engine.protocol import Engine, EngineUnavailable, Positions, SequenceRefused
from teacher_server.http.errors import Refusal
from teacher_server.vllm.logprob_rows import rounded

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


class AnswerStream(StreamingResponse):
    """A streamed answer whose generator ends at once when the client goes away, wherever it was suspended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            assert isinstance(self.body_iterator, AsyncGenerator)
            await self.body_iterator.aclose()


def find_model(name: str, card: TeacherCard) -> ServedModel:
    """The served model of that name. Raises Refusal (404) when there is none."""
    model = next((model for model in card.models if model.name == name), None)
    if model is None:
        names = ", ".join(model.name for model in card.models)
        raise Refusal(404, "model_not_found", f"got the model {name!r}; this teacher serves {names}", "model")
    return model


def check_request(request: DistillRequest, card: TeacherCard) -> ServedModel:
    """The model that is asked for. Raises Refusal when the request as a whole can't be answered."""
    model = find_model(request.model, card)
    if request.top_k > card.max_top_k:
        message = f"top_k: got {request.top_k}, this teacher gives at most {card.max_top_k}"
        raise Refusal(422, "invalid_value", message, "top_k")
    samples = request.samples()
    ids = {sample.id for sample in samples}
    if len(ids) < len(samples):
        message = f"sequences: got {len(samples)} with {len(ids)} different ids; give each its own"
        raise Refusal(422, "invalid_value", message, "sequences")
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
        positions = await _ask(engine, request, sequence)
    except SequenceRefused as error:
        return wire.failed(sequence.id, model.name, model.revision, str(error), request.top_k, request.logprob_dtype)
    return wire.TeacherAnswer(
        id=sequence.id,
        model=model.name,
        revision=positions.revision,
        finish_reason=positions.finish_reason,
        error=None,
        token_ids=positions.token_ids,
        token_logprobs=positions.token_logprobs,
        topk_ids=positions.topk_ids,
        topk_logprobs=rounded(positions.topk_logprobs, request.logprob_dtype),
        tail_logprob=positions.tail_logprob,
    )


def check_sequence(sequence: DistillSequence, card: TeacherCard) -> None:
    """Raises SequenceRefused when this sequence can't be answered by a teacher with this card."""
    prompt, completion, options = sequence.prompt_token_ids, sequence.completion_token_ids, sequence.generate
    if not prompt:
        raise SequenceRefused("got an empty prompt_token_ids, expected at least one token")
    if completion is not None and not completion:
        raise SequenceRefused("got an empty completion_token_ids, expected at least one token to score")
    asked = len(completion) if completion is not None else options.max_tokens if options else 0
    if len(prompt) + asked > card.max_length:
        raise SequenceRefused(
            f"got {len(prompt)} prompt tokens and {asked} for the completion, this teacher takes at most "
            f"{card.max_length} together"
        )
    largest = max(max(prompt), max(completion or [0]), max(options.stop_token_ids, default=0) if options else 0)
    if largest >= card.vocabulary_size:
        raise SequenceRefused(
            f"got the token id {largest}, the vocabulary has {card.vocabulary_size}; is this another model's tokenizer?"
        )


async def _ask(engine: Engine, request: DistillRequest, sequence: DistillSequence) -> Positions:
    if sequence.generate is not None:
        return await engine.generate(request.model, sequence.prompt_token_ids, sequence.generate, request.top_k)
    assert sequence.completion_token_ids is not None
    return await engine.score(request.model, sequence.prompt_token_ids, sequence.completion_token_ids, request.top_k)
