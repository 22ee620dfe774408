"""OpenAI's API for any of its clients: models, completions and chats, text only, in our own strict bodies."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion

from common.api import SEEDS, Body, DistillSequence, GenerateOptions, ServedModel
from teacher_server.distill.serving import AnswerStream, check_sequence, find_model
from teacher_server.engine.metrics import Meter, Recorder
from teacher_server.engine.protocol import Engine, Piece, SequenceRefused
from teacher_server.http import json_body
from teacher_server.http.admission import Admission, check_size
from teacher_server.http.disconnect import while_connected
from teacher_server.http.errors import Refusal
from teacher_server.openai.protocol import DEFAULT_MAX_TOKENS, ChatBody, CompletionBody, WritingBody
from teacher_server.openai.responses import Answer, ChatAnswer, CompletionAnswer
from teacher_server.openai.streaming import Usage, events, gather, refusal
from teacher_server.openai.tokenization import Texts
from teacher_server.settings import LimitSettings

MAX_SHOWN = 262_144
"""Logprobs in an answer that isn't streamed: each is an object, about a kilobyte while the answer is made."""
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""What the document of the API says of an answer with `stream`."""


class ModelList(Body):
    """Answer of `GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


def router(engine: Engine, admission: Admission, limits: LimitSettings, recorder: Recorder) -> APIRouter:
    """OpenAI's routes around a started `engine`."""
    routes = APIRouter(prefix="/v1", route_class=json_body.JsonRoute)
    writer = Writer(engine, limits, recorder)

    async def admitted_completion(body: CompletionBody, connection: Request) -> AsyncIterator[CompletionBody]:
        connection.state.sequences = body.number_of_answers
        with admission.hold(body.number_of_answers, body.tokens(engine.describe().max_length)):
            yield body

    async def admitted_chat(body: ChatBody, connection: Request) -> AsyncIterator[ChatBody]:
        connection.state.sequences = body.number_of_answers
        with admission.hold(body.number_of_answers, body.tokens(engine.describe().max_length)):
            yield body

    @routes.get("/models", response_model_exclude_unset=True)
    async def models() -> ModelList:
        """The base model and its adapters."""
        return ModelList(object="list", data=[writer.model(model) for model in engine.describe().models])

    @routes.get("/models/{name:path}", response_model_exclude_unset=True)
    async def model(name: str) -> Model:
        """One of them."""
        return writer.model(find_model(name, engine.describe()))

    @routes.post("/completions", response_model=Completion, responses=EVENTS)
    async def completions(body: Annotated[CompletionBody, Depends(admitted_completion)], request: Request) -> Response:
        """Completions of text or ids; server-sent events with `stream`."""
        return await while_connected(request, writer.complete(body))

    @routes.post("/chat/completions", response_model=ChatCompletion, responses=EVENTS)
    async def chat_completions(body: Annotated[ChatBody, Depends(admitted_chat)], request: Request) -> Response:
        """The assistant's next turn; server-sent events with `stream`."""
        return await while_connected(request, writer.chat(body))

    return routes


class Writer:
    """Answers OpenAI's requests with one engine."""

    def __init__(self, engine: Engine, limits: LimitSettings, recorder: Recorder) -> None:
        self._engine = engine
        self._limits = limits
        self._recorder = recorder
        self._texts = Texts(engine.tokenizer())
        self._created = int(time.time())

    def model(self, model: ServedModel) -> Model:
        """A served model as OpenAI lists it."""
        return Model(id=model.name, object="model", created=self._created, owned_by="toolagent-kd")

    async def complete(self, body: CompletionBody) -> Response:
        """The response to a completions request. Raises Refusal or EngineUnavailable."""
        model = find_model(body.model, self._engine.describe())
        prompts = await asyncio.to_thread(self._prompts, body)
        options = self._options(body, body.max_tokens or DEFAULT_MAX_TOKENS, [])
        return await self._respond(body, prompts, options, CompletionAnswer(model, self._texts, body.shown))

    async def chat(self, body: ChatBody) -> Response:
        """The response to a chat request. Raises Refusal or EngineUnavailable."""
        card = self._engine.describe()
        model = find_model(body.model, card)
        prompt = await asyncio.to_thread(self._texts.chat_ids, [message.turn for message in body.messages])
        limit = body.max_completion_tokens or body.max_tokens or max(1, card.max_length - len(prompt))
        options = self._options(body, limit, self._texts.end_of_turn_ids())
        return await self._respond(body, [prompt], options, ChatAnswer(model, self._texts, body.shown))

    async def _respond(
        self, body: WritingBody, prompts: list[list[int]], options: GenerateOptions, answer: Answer
    ) -> Response:
        writers = self._writers(body, prompts, options)
        await self._engine.check_health()
        usage = Usage(sum(map(len, prompts)), Meter(self._recorder, body.model))
        if body.stream:
            tell_usage = bool(body.stream_options and body.stream_options.include_usage)
            return AnswerStream(events(answer, writers, usage, tell_usage), media_type="text/event-stream")
        whole = await gather(answer, writers, usage)
        return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")

    def _writers(
        self, body: WritingBody, prompts: list[list[int]], options: GenerateOptions
    ) -> list[AsyncGenerator[Piece]]:
        """A writer per answer, n after each other for each prompt. Raises Refusal."""
        card, top_k = self._engine.describe(), None if body.shown is None else max(1, body.shown)
        if top_k is not None and top_k > card.max_top_k:
            message = f"got {top_k} logprobs per token, this teacher gives at most {card.max_top_k}"
            raise Refusal(422, "invalid_value", message, "logprobs")
        asked = [DistillSequence.model_construct(id="", prompt_token_ids=ids, generate=options) for ids in prompts]
        check_size(asked, top_k or 0, self._limits, ("max_tokens", "logprobs"))
        if top_k is not None and not body.stream:
            _check_shown(options.max_tokens * body.number_of_answers * (top_k + 1))
        for sequence in asked:
            try:
                check_sequence(sequence, card)
            except SequenceRefused as error:
                raise refusal(error) from None
        samples = [sample for sequence in asked for sample in sequence.samples()]
        return [
            self._engine.write(body.model, sample.prompt_token_ids, sample.generate, top_k)
            for sample in samples
            if sample.generate is not None
        ]

    def _options(self, body: WritingBody, max_tokens: int, stop_token_ids: list[int]) -> GenerateOptions:
        return GenerateOptions(
            max_tokens=max_tokens,
            temperature=1 if body.temperature is None else body.temperature,
            top_p=1 if body.top_p is None else body.top_p,
            seed=None if body.seed is None else body.seed % SEEDS,
            stop=body.stop,
            stop_token_ids=[*stop_token_ids, *self._texts.special_ids(body.stop)],
            n=body.n or 1,
        )

    def _prompts(self, body: CompletionBody) -> list[list[int]]:
        return [self._texts.prompt_ids(prompt) if isinstance(prompt, str) else prompt for prompt in body.prompt]


def _check_shown(logprobs: int) -> None:
    """Raises Refusal when an answer that is kept whole could hold too many."""
    if logprobs > MAX_SHOWN:
        message = f"logprobs: up to {logprobs} in one answer, expected at most {MAX_SHOWN}"
        raise Refusal(422, "request_too_large", f"{message}; send stream: true, or set max_tokens lower", "logprobs")
