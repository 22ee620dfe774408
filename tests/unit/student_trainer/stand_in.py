"""A stand-in teacher, whole in its protocol: its distribution after a prefix is drawn by a hash of the prefix."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.api import DistillRequest, DistillSequence, ServedModel, TeacherCard
from common.fingerprints import tokenizer_fingerprint
from common.teacher_client.failures import TeacherRefused
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import PromptRow, Turn, write_rows
from common.wire import SCHEMA_VERSION, TeacherAnswer, failed
from student_trainer.data.prompt_stream import hash63
from student_trainer.settings import TrainSettings

TOP_K = 8
Spoil = Callable[[TeacherAnswer], TeacherAnswer]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and an end token: 257 ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: id for id, token in enumerate([*alphabet, "<|eos|>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|eos|>")


TOKENIZER = tiny_tokenizer()
VOCABULARY_SIZE = len(TOKENIZER)


def make_row(number: int, completion: str | None = "yes", query: str = "weather?") -> PromptRow:
    """A short row with the id "row-<number>"."""
    turns = (Turn("system", "Be brief."), Turn("user", f"{number} {query}"))
    return PromptRow(f"row-{number}", query, turns, completion, f"trace-{number}", 1, "train")


def make_settings(tmp_path: Path, rows: list[PromptRow] | None = None, **changes: Any) -> TrainSettings:
    """Settings of a run on `rows` (20 by default), written as small row groups on the first call."""
    data = tmp_path / "data"
    if not data.exists():
        write_rows(data, rows or [make_row(number) for number in range(20)], rows_per_file=8, row_group=3)
    values: dict[str, Any] = {
        "run_folder": tmp_path / "run",
        "data": {"train": data, "max_length": 128},
        "student": {"model": "unused"},
        "teacher": {"url": "http://stand-in", "model": "teacher", "top_k": TOP_K, "window": 4, "max_window": 4},
        "completion": {"max_new_tokens": 6},
        "batch_size": 4,
        "allow_unqualified_teacher": True,
    }
    return TrainSettings.model_validate(values | changes)


class StandInTeacher:
    """Answers as `TeacherCalls` does. `requests` are those it got; `most_in_flight` how many at once.

    `spoil` changes each answer before it leaves; `refuse` gives the status to refuse a sequence with, or None; `shift`
    moves the positions that it scores; `card` replaces fields of its card. Answers overtake each other.
    """

    def __init__(
        self,
        spoil: Spoil = lambda answer: answer,
        refuse: Callable[[DistillSequence], int | None] = lambda sequence: None,
        revision: str = "r1",
        shift: int = 0,
        **card: Any,
    ) -> None:
        self.spoil, self.refuse, self.revision, self.shift = spoil, refuse, revision, shift
        self.requests: list[DistillRequest] = []
        self.in_flight = self.most_in_flight = 0
        self.card = card

    async def teacher(self) -> TeacherCard:
        """The card, with the fields given at construction."""
        fields: dict[str, Any] = {
            "models": [ServedModel(name="teacher", adapter=False, revision=self.revision)],
            "tokenizer_fingerprint": tokenizer_fingerprint(TOKENIZER),
            "chat_template_fingerprint": None,
            "terminators": {"toolbench": TOKENIZER.eos_token_id},
            "end_token_ids": [TOKENIZER.eos_token_id],
            "vocabulary_size": VOCABULARY_SIZE,
            "max_top_k": 64,
            "max_length": 256,
            "abilities": ["score", "generate"],
            "dtype": "float32",
            "versions": {"wire": str(SCHEMA_VERSION)},
        }
        return TeacherCard(**(fields | self.card))

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        """Answers in the request's order."""
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0.002 * (hash63(request.sequences[0].id) % 3))
        self.in_flight -= 1
        for sequence in request.sequences:
            if status := self.refuse(sequence):
                raise TeacherRefused(status, f"no to {sequence.id}")
        return [self.spoil(self._answer(request, sequence)) for sequence in request.sequences]

    def asked(self, id: str) -> int:
        """How often the sequence `id` was asked."""
        return sum(sequence.id == id for request in self.requests for sequence in request.sequences)

    def _answer(self, request: DistillRequest, sequence: DistillSequence) -> TeacherAnswer:
        prompt, completion, finish = sequence.prompt_token_ids, sequence.completion_token_ids, "scored"
        if completion is None:
            completion, finish = _write(sequence)
        if not completion:
            return failed(sequence.id, request.model, self.revision, "empty", request.top_k, request.logprob_dtype)
        ids = prompt + completion
        first = len(prompt) + (self.shift if finish == "scored" else 0)
        logprobs = np.stack([distribution(ids[:end]) for end in range(first, first + len(completion))])  # [T, V]
        order = np.argsort(-logprobs, axis=1, kind="stable")[:, : request.top_k]
        top = np.take_along_axis(logprobs, order, axis=1)
        tail = np.log(np.maximum(1 - np.exp(top).sum(axis=1), 1e-30))
        chosen = logprobs[np.arange(len(completion)), completion]
        return TeacherAnswer(
            sequence.id, request.model, self.revision, finish, None,
            np.array(completion, np.int32), chosen.astype(np.float32), order.astype(np.int32),
            top.astype(request.logprob_dtype), tail.astype(np.float32),
        )  # fmt: skip


def connect_to(teacher: StandInTeacher) -> Callable[[TeacherClientSettings, str], Any]:
    """What `open_source` connects with."""

    @asynccontextmanager
    async def connect(settings: TeacherClientSettings, url: str) -> AsyncIterator[StandInTeacher]:
        yield teacher

    return connect


def distribution(prefix: list[int]) -> NDArray[np.float64]:
    """Log-probabilities [V] after `prefix`."""
    logits = np.random.default_rng(hash63(*prefix)).normal(size=VOCABULARY_SIZE) * 3
    return logits - np.log(np.exp(logits).sum())


def _write(sequence: DistillSequence) -> tuple[list[int], str]:
    options = sequence.generate
    assert options is not None
    written: list[int] = []
    while len(written) < options.max_tokens:
        logprobs = distribution(sequence.prompt_token_ids + written)
        if options.temperature:
            logprobs = logprobs + np.random.default_rng(hash63(options.seed or 0, *written)).gumbel(size=len(logprobs))
        written.append(int(logprobs.argmax()))
        if options.stop_token_ids and written[-1] % 4 == 0:  # a turn ends after each token with one chance in four
            return written, "stop"
    return written, "length"
