"""`echo`: a prompt given back before its completion, with logprobs from the engine's scoring where they are shown."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from common.api import ServedModel
from teacher_server.engine.protocol import Engine, OutputDelta
from teacher_server.openai.tokenization import EchoedPrompt


async def with_prompt(
    engine: Engine,
    model: ServedModel,
    prompt: EchoedPrompt,
    top_k: int | None,
    written: AsyncGenerator[OutputDelta] | None,
) -> AsyncGenerator[OutputDelta]:
    """A delta of the prompt, which counts no tokens as written, then those of what is `written`, if anything is.

    Its logprobs, with `top_k` entries per position or None for none, are of all tokens but the first.
    """
    scored = None
    if top_k is not None and len(prompt.ids) > 1:
        scored = await engine.score(model.name, prompt.ids[:1], prompt.ids[1:], top_k)
    revision = model.revision if scored is None else scored.revision
    yield OutputDelta(prompt.text, [], scored, "length" if written is None else None, revision)
    if written is not None:
        async with aclosing(written):
            async for delta in written:
                yield delta
