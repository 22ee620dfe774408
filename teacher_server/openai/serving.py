"""OpenAI's requests answered by an engine: prompts and options made, checked, and the answer written or streamed."""

import asyncio
import time
from collections.abc import AsyncGenerator

from fastapi import Response
from openai.types import Model

from common.api import SEEDS, DistillSequence, GenerateOptions, ServedModel
from teacher_server.engine.metrics import Meter, Recorder
from teacher_server.engine.protocol import Engine, OutputDelta, SequenceError
from teacher_server.engine.validation import check_sequence
from teacher_server.http.admission import check_size, check_top_k, find_model
from teacher_server.http.disconnect import AnswerStream
from teacher_server.http.errors import ApiError
from teacher_server.openai.protocol import DEFAULT_MAX_TOKENS, ChatBody, CompletionBody, WritingBody
from teacher_server.openai.responses import Answer, ChatAnswer, CompletionAnswer
from teacher_server.openai.streaming import Usage, events, gather, to_api_error
from teacher_server.openai.tokenization import TextTokenizer
from teacher_server.settings import LimitSettings

MAX_SHOWN = 262_144
"""Logprobs in an answer that isn't streamed: each is an object, about a kilobyte while the answer is made."""


class OpenAIServing:
    """Answers OpenAI's requests with one started engine."""

    def __init__(self, engine: Engine, limits: LimitSettings, recorder: Recorder) -> None:
        self._engine = engine
        self._limits = limits
        self._recorder = recorder
        self._tokenizer = TextTokenizer(engine.tokenizer())
        self._created = int(time.time())

    def models(self) -> list[Model]:
        """The base model and its adapters as OpenAI lists them."""
        return [self._model(model) for model in self._engine.describe().models]

    def model(self, name: str) -> Model:
        """One of them. Raises ApiError."""
        return self._model(find_model(name, self._engine.describe()))

    async def complete(self, body: CompletionBody) -> Response:
        """The response to a completions request. Raises ApiError or EngineUnavailable."""
        model = find_model(body.model, self._engine.describe())
        prompts = await asyncio.to_thread(self._prompts, body)
        options = self._options(body, body.max_tokens or DEFAULT_MAX_TOKENS, [])
        return await self._respond(body, prompts, options, CompletionAnswer(model, self._tokenizer, body.shown))

    async def chat(self, body: ChatBody) -> Response:
        """The response to a chat request. Raises ApiError or EngineUnavailable."""
        card = self._engine.describe()
        model = find_model(body.model, card)
        prompt = await asyncio.to_thread(self._tokenizer.chat_ids, [message.turn for message in body.messages])
        limit = body.max_completion_tokens or body.max_tokens or max(1, card.max_length - len(prompt))
        options = self._options(body, limit, self._tokenizer.end_of_turn_ids())
        return await self._respond(body, [prompt], options, ChatAnswer(model, self._tokenizer, body.shown))

    async def _respond(
        self, body: WritingBody, prompts: list[list[int]], options: GenerateOptions, answer: Answer
    ) -> Response:
        samples = self._checked_samples(body, prompts, options)
        await self._engine.check_health()
        outputs = [self._write(body, sample) for sample in samples]
        usage = Usage(sum(map(len, prompts)), Meter(self._recorder, body.model))
        if body.stream:
            tell_usage = bool(body.stream_options and body.stream_options.include_usage)
            return AnswerStream(events(answer, outputs, usage, tell_usage), media_type="text/event-stream")
        whole = await gather(answer, outputs, usage)
        return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")

    def _checked_samples(
        self, body: WritingBody, prompts: list[list[int]], options: GenerateOptions
    ) -> list[DistillSequence]:
        """A sequence per completion to write, n after each other for each prompt. Raises ApiError."""
        card, top_k = self._engine.describe(), _top_k(body)
        check_top_k(top_k, card, "logprobs")
        asked = [DistillSequence.model_construct(id="", prompt_token_ids=ids, generate=options) for ids in prompts]
        check_size(asked, top_k, self._limits, ("max_tokens", "logprobs"))
        if top_k and not body.stream:
            _check_shown(options.max_tokens * body.number_of_answers * (top_k + 1))
        for sequence in asked:
            try:
                check_sequence(sequence, card)
            except SequenceError as error:
                raise to_api_error(error) from None
        return [sample for sequence in asked for sample in sequence.samples()]

    def _write(self, body: WritingBody, sample: DistillSequence) -> AsyncGenerator[OutputDelta]:
        assert sample.generate is not None
        return self._engine.write(body.model, sample.prompt_token_ids, sample.generate, _top_k(body) or None)

    def _options(self, body: WritingBody, max_tokens: int, stop_token_ids: list[int]) -> GenerateOptions:
        return GenerateOptions(
            max_tokens=max_tokens,
            temperature=1 if body.temperature is None else body.temperature,
            top_p=1 if body.top_p is None else body.top_p,
            seed=None if body.seed is None else body.seed % SEEDS,
            stop=body.stop,
            stop_token_ids=[*stop_token_ids, *self._tokenizer.special_ids(body.stop)],
            n=body.n or 1,
        )

    def _prompts(self, body: CompletionBody) -> list[list[int]]:
        return [self._tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else prompt for prompt in body.prompt]

    def _model(self, model: ServedModel) -> Model:
        return Model(id=model.name, object="model", created=self._created, owned_by="toolagent-kd")


def _top_k(body: WritingBody) -> int:
    """Logprobs to ask for at each token: one at least where any are shown; 0 where none are."""
    return 0 if body.shown is None else max(1, body.shown)


def _check_shown(logprobs: int) -> None:
    """Raises ApiError when an answer that is kept whole could hold too many."""
    if logprobs > MAX_SHOWN:
        message = f"logprobs: up to {logprobs} in one answer, expected at most {MAX_SHOWN}"
        raise ApiError(422, "request_too_large", f"{message}; send stream: true, or set max_tokens lower", "logprobs")
