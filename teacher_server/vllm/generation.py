"""How vLLM is asked to write, and its growing output as deltas.

Legend: k = entries per position.
"""

from collections.abc import AsyncGenerator
from typing import Any

from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams

from common.api import GenerateOptions
from common.sequences import FinishReason
from teacher_server.engine.protocol import EngineUnavailable, OutputDelta, WriteOptions
from teacher_server.vllm.completion_logprobs import from_flat
from teacher_server.vllm.scoring import READABLE_AS_ARRAYS

FINISH_REASONS: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}


def whole(options: GenerateOptions, top_k: int) -> SamplingParams:
    """For a completion at once, as ids alone; stop strings make vLLM read this request's text as it goes.

    It then reads special tokens too, as `common.render` does, so that a stop string can name one.
    """
    detokenize = bool(options.stop)
    kind = RequestOutputKind.FINAL_ONLY
    return _params(options, top_k, detokenize=detokenize, skip_special_tokens=False, output_kind=kind)


def growing(options: WriteOptions, top_k: int | None) -> SamplingParams:
    """For a completion that is read as text while it is written.

    Every output repeats those before it: where vLLM merges outputs that nobody fetched in time, which it does with
    mere differences, it drops the entries that a row of flat logprobs holds twice.
    """
    return _params(
        options,
        top_k,
        top_k=options.top_k,
        min_tokens=options.min_tokens,
        ignore_eos=options.ignore_eos,
        detokenize=True,
        output_kind=RequestOutputKind.CUMULATIVE,
    )


async def deltas(
    outputs: AsyncGenerator[tuple[RequestOutput, str]], top_k: int | None, vocabulary_size: int
) -> AsyncGenerator[OutputDelta]:
    """What each output has more than the one before, k entries per position where `top_k` is given.

    `outputs` come with the revision of the weights that gave them.
    """
    written, shown = 0, 0
    async for output, revision in outputs:
        completion = output.outputs[0]
        reason = finish_reason(completion) if output.finished else None
        token_ids, text = list(completion.token_ids[written:]), completion.text[shown:]
        logprobs = None
        if top_k is not None and token_ids:
            rows: Any = completion.logprobs  # those of later outputs too, where these were already made
            rows = rows[written : written + len(token_ids)]
            logprobs = from_flat(rows, 0, top_k, vocabulary_size, reason or "length", revision)
        written, shown = written + len(token_ids), shown + len(text)
        yield OutputDelta(text, token_ids, logprobs, reason, revision)


def finish_reason(completion: CompletionOutput) -> FinishReason:
    """Why a finished completion ended. Raises EngineUnavailable when the engine gave it up."""
    reason = FINISH_REASONS.get(completion.finish_reason)
    if reason is None:
        raise EngineUnavailable(f"the engine stopped this sequence: {completion.finish_reason}")
    return reason


def _params(options: GenerateOptions, logprobs: int | None, **how: Any) -> SamplingParams:
    return SamplingParams(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        stop_token_ids=options.stop_token_ids,
        stop=options.stop,
        logprobs=logprobs,
        flat_logprobs=True,
        extra_args=READABLE_AS_ARRAYS,
        **how,
    )
