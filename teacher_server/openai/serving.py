"""OpenAI's requests answered by an engine: prompts made and checked, and the answer written or streamed."""

import asyncio
import time
from collections.abc import AsyncGenerator

from fastapi import Response
from openai.types import Model

from common.api import DistillSequence, ServedModel
from teacher_server.engine.metrics import Meter, Recorder
from teacher_server.engine.protocol import Engine, OutputDelta, WriteOptions
from teacher_server.http.admission import find_model
from teacher_server.http.disconnect import AnswerStream
from teacher_server.openai.chat.answers import ChatAnswer, ToolChatAnswer
from teacher_server.openai.chat.protocol import ChatBody
from teacher_server.openai.chat.rendering import ChatRendering
from teacher_server.openai.echo import with_prompt
from teacher_server.openai.protocol import CompletionBody, WritingBody
from teacher_server.openai.responses import Answer, CompletionAnswer
from teacher_server.openai.sampling import checked_samples, top_k, write_options
from teacher_server.openai.streaming import Usage, events, gather
from teacher_server.openai.tokenization import EchoedPrompt, TextTokenizer
from teacher_server.settings import LimitSettings


class OpenAIServing:
    """Answers OpenAI's requests with one started engine."""

    def __init__(self, engine: Engine, limits: LimitSettings, recorder: Recorder) -> None:
        self._engine = engine
        self._limits = limits
        self._recorder = recorder
        self._tokenizer = TextTokenizer(engine.tokenizer())
        self._chats = ChatRendering(engine.tokenizer(), engine.describe())
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
        prompts, echoed = await asyncio.to_thread(self._prompts, body)
        samples = self._samples(body, prompts, body.limit, [])
        outputs = [self._write(body, sample) for sample in samples]
        if echoed:
            outputs = [
                with_prompt(self._engine, model, prompt, top_k(body), written if body.limit else None)
                for prompt, written in zip(echoed, outputs, strict=True)
            ]
        answer = CompletionAnswer(model, self._tokenizer, body.shown, echoed)
        return await self._respond(body, prompts, outputs, answer)

    async def chat(self, body: ChatBody) -> Response:
        """The response to a chat request. Raises ApiError or EngineUnavailable."""
        card = self._engine.describe()
        model = find_model(body.model, card)
        chat = await asyncio.to_thread(self._chats.render, body)
        prompt = self._truncated(body, chat.prompt, body.limit or 1)
        ends = [] if body.ignore_eos else chat.end_ids
        samples = self._samples(body, [prompt], body.limit or max(1, card.max_length - len(prompt)), ends)
        outputs = [self._write(body, sample) for sample in samples]
        answer = ChatAnswer(model, self._tokenizer, body.shown)
        if chat.reader is not None:
            answer = ToolChatAnswer(model, self._tokenizer, body.shown, chat.reader)
        return await self._respond(body, [prompt], outputs, answer)

    async def _respond(
        self, body: WritingBody, prompts: list[list[int]], outputs: list[AsyncGenerator[OutputDelta]], answer: Answer
    ) -> Response:
        await self._engine.check_health()
        usage = Usage(sum(map(len, prompts)), Meter(self._recorder, body.model))
        if body.stream:
            tell_usage = bool(body.stream_options and body.stream_options.include_usage)
            return AnswerStream(events(answer, outputs, usage, tell_usage), media_type="text/event-stream")
        whole = await gather(answer, outputs, usage)
        return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")

    def _samples(
        self, body: WritingBody, prompts: list[list[int]], max_tokens: int, ends: list[int]
    ) -> list[DistillSequence]:
        options = write_options(body, max_tokens, [*ends, *self._tokenizer.special_ids(body.stop)])
        return checked_samples(body, prompts, options, self._engine.describe(), self._limits)

    def _write(self, body: WritingBody, sample: DistillSequence) -> AsyncGenerator[OutputDelta]:
        assert isinstance(sample.generate, WriteOptions)
        return self._engine.write(body.model, sample.prompt_token_ids, sample.generate, top_k(body))

    def _prompts(self, body: CompletionBody) -> tuple[list[list[int]], list[EchoedPrompt]]:
        """The prompts' ids; and for each answer its prompt, where that is given back."""
        if body.echo:
            echoed = [self._tokenizer.echoed(prompt) for prompt in body.prompt]
            return [prompt.ids for prompt in echoed], [prompt for prompt in echoed for _ in range(body.n or 1)]
        ids = [self._tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else prompt for prompt in body.prompt]
        return [self._truncated(body, prompt, body.limit) for prompt in ids], []

    def _truncated(self, body: WritingBody, prompt: list[int], written: int) -> list[int]:
        """The prompt as long as `truncate_prompt_tokens` wants it; -1 leaves room for what is `written`."""
        most = body.truncate_prompt_tokens
        if most is None:
            return prompt
        room = max(1, self._engine.describe().max_length - written)
        return self._tokenizer.truncated(prompt, room if most < 0 else most)

    def _model(self, model: ServedModel) -> Model:
        return Model(id=model.name, object="model", created=self._created, owned_by="toolagent-kd")
