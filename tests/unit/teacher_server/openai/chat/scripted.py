"""An engine that writes given turns, with a tokenizer that knows every byte, and OpenAI's client of it."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, repeat
from typing import Any, Literal

import numpy as np
from openai import AsyncOpenAI
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from common.api import TeacherCard
from common.sequences import FinishReason
from teacher_server.engine.protocol import CompletionLogprobs, OutputDelta, WriteOptions
from tests.stand_in_engine import EOS, StandInEngine
from tests.unit.common.layouts.templates import MARKED_JSON
from tests.unit.teacher_server.asking import TOKEN, connect, make_app

SPECIAL = ["<|pad|>", "<|eos|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
OTHER_END = 2
"""An end of sequence besides the tokenizer's, which is also how chat templates end a turn."""
Layout = Literal["toolbench", "chat", "tools"]
WORDS = "System: User: Function: Assistant: \n\nThought: \nAction: \nAction Input: assistant user tool system"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "pattern": "^(a+)+$"}, "unit": {"$ref": "http://internal/unit"}},
            "required": ["city"],
        },
    },
}
ASK = {"role": "user", "content": "Rain in Oslo?"}


@cache
def byte_tokenizer(chat_template: str = MARKED_JSON) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with merges for the words of layouts, and a chat template that takes tools."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([WORDS] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|eos|>", pad_token="<|pad|>", chat_template=chat_template
    )


def react(action: str, arguments: str, thought: str = "look") -> str:
    """A turn as ToolBench's training has it."""
    return f"\nThought: {thought}\nAction: {action}\nAction Input: {arguments}"


def marked(*calls: tuple[str, str], said: str = "look") -> str:
    """A turn in the chat template's own form."""
    objects = [f'<tool_call>\n{{"name": "{name}", "arguments": {given}}}\n</tool_call>' for name, given in calls]
    return "\n".join([said, *objects] if said else objects)


class ScriptedEngine(StandInEngine):
    """Writes `turns`, one a request, in deltas of as many tokens as `cuts` say; keeps the prompts that it was given."""

    def __init__(
        self,
        *turns: str,
        layout: Layout | None = "toolbench",
        cuts: Sequence[int] = (),
        tokenizer: PreTrainedTokenizerFast | None = None,
    ) -> None:
        super().__init__()
        self._turns = list(turns)
        self._layout = layout
        self._cuts = cuts
        self._tokenizer = tokenizer or byte_tokenizer()
        self.prompts: list[list[int]] = []

    @property
    def texts(self) -> list[str]:
        """The prompts that it was given, special tokens shown."""
        return [self._tokenizer.decode(prompt) for prompt in self.prompts]

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self._tokenizer

    def describe(self) -> TeacherCard:
        changes = {"vocabulary_size": len(self._tokenizer), "max_length": 100_000, "tool_layout": self._layout}
        return super().describe().model_copy(update=changes | {"end_token_ids": [EOS, OTHER_END]})

    async def write(
        self, model: str, prompt: Sequence[int], options: WriteOptions, top_k: int | None
    ) -> AsyncGenerator[OutputDelta]:
        self.prompts.append(list(prompt))
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        for delta in deltas_of(self._tokenizer, turn, options, self._cuts):
            yield delta if top_k is None else replace(delta, logprobs=_certain(delta.token_ids, top_k))


def deltas_of(
    tokenizer: PreTrainedTokenizerFast, text: str, options: WriteOptions, cuts: Sequence[int] = ()
) -> Iterator[OutputDelta]:
    """`text` as an engine gives it that ends at stop strings, after `max_tokens`, or with an end of sequence."""
    ids = [*tokenizer.encode(text, add_special_tokens=False), OTHER_END]
    reason: FinishReason = "stop"
    for count in range(1, len(ids)):
        if any(stop in tokenizer.decode(ids[:count]) for stop in options.stop):
            ids = ids[:count]
            break
    if len(ids) > options.max_tokens:
        ids, reason = ids[: options.max_tokens], "length"
    begin = 0
    for cut in chain(cuts, repeat(1)):
        end = min(len(ids), begin + cut)
        shown = [tokenizer.decode(ids[:place], skip_special_tokens=True).rstrip("\ufffd") for place in (begin, end)]
        yield OutputDelta(shown[1][len(shown[0]) :], ids[begin:end], None, reason if end == len(ids) else None, "r0")
        begin = end
        if end == len(ids):
            return


def _certain(token_ids: Sequence[int], top_k: int) -> CompletionLogprobs:
    """Logprobs of tokens that nothing competes with."""
    ids, rows = np.array(token_ids, np.int32), len(token_ids)
    zeros = np.zeros((rows, top_k), np.float32)
    return CompletionLogprobs(ids, zeros[:, 0], np.tile(ids[:, None], top_k), zeros, zeros[:, 0], "length", "r0")


def client_of(engine: StandInEngine) -> AsyncOpenAI:
    """OpenAI's client of a service around the engine."""
    return AsyncOpenAI(
        base_url="http://teacher/v1", api_key=TOKEN, http_client=connect(make_app(engine)), max_retries=0
    )
