"""The teacher's HTTP API as typed bodies: what clients send, what the server checks. Unknown fields are refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SEQUENCES = 256
MAX_SEQUENCE_TOKENS = 131_072
MAX_TOP_K = 4_096
MAX_TEMPERATURE = 2
MAX_SAMPLES = 128
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
SEEDS = 2**63

TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(max_length=MAX_SEQUENCE_TOKENS, fail_fast=True)
]
StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]], Field(max_length=MAX_STOPS)
]


class Body(BaseModel):
    """Base of every request and answer body."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class GenerateOptions(Body):
    """How completions are written. `temperature` shapes the sampling alone: logprobs are always at temperature 1.

    A completion ends with the first of `stop_token_ids`, or with the token that completes the first of the strings in
    `stop`; of `n` completions, each is drawn with a seed of its own.
    """

    max_tokens: int = Field(strict=True, ge=1, le=MAX_SEQUENCE_TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, strict=True, ge=0, lt=SEEDS)
    stop_token_ids: TokenIds = []
    stop: StopStrings = []
    n: int = Field(default=1, strict=True, ge=1, le=MAX_SAMPLES)


class DistillSequence(Body):
    """One sequence: score `completion_token_ids`, or write a completion as `generate` says; exactly one of the two."""

    id: str = Field(max_length=512)
    prompt_token_ids: TokenIds
    completion_token_ids: TokenIds | None = None
    generate: GenerateOptions | None = None

    @model_validator(mode="after")
    def _one_task(self) -> "DistillSequence":
        if (self.completion_token_ids is None) == (self.generate is None):
            raise ValueError("give exactly one of completion_token_ids (to score) and generate (to write)")
        return self

    def samples(self) -> "list[DistillSequence]":
        """One sequence per answer: itself, or the `n` that it stands for, as `id/0`, `id/1`… with seeds in a row."""
        options = self.generate
        if options is None or options.n == 1:
            return [self]
        seeds = [None if options.seed is None else (options.seed + i) % SEEDS for i in range(options.n)]
        asked = [options.model_copy(update={"n": 1, "seed": seed}) for seed in seeds]
        return [self.model_copy(update={"id": f"{self.id}/{i}", "generate": one}) for i, one in enumerate(asked)]


class DistillRequest(Body):
    """Body of `POST /v1/distill`. The answer is an Arrow IPC stream of `common.wire` records, each as it finishes."""

    model: str = Field(max_length=256)
    top_k: int = Field(strict=True, ge=1, le=MAX_TOP_K)
    sequences: Annotated[list[DistillSequence], Field(min_length=1, max_length=MAX_SEQUENCES)]
    logprob_dtype: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _bounded(self) -> "DistillRequest":
        if self.number_of_answers > MAX_SEQUENCES:
            raise ValueError(
                f"got {self.number_of_answers} answers to give, n samples counted n times; ask for at most "
                f"{MAX_SEQUENCES} in one request"
            )
        return self

    @property
    def number_of_answers(self) -> int:
        """Records that the answer holds: one per sequence, n for one that asks for n samples."""
        return sum(sequence.generate.n if sequence.generate else 1 for sequence in self.sequences)

    def samples(self) -> list[DistillSequence]:
        """One sequence per record of the answer, in order: n samples stand after each other."""
        return [sample for sequence in self.sequences for sample in sequence.samples()]


class ServedModel(Body):
    """A name that `model` may take: the base itself, or an adapter on it. `revision` changes whenever weights do."""

    name: str
    adapter: bool
    revision: str


class TeacherCard(Body):
    """Answer of `GET /v1/teacher`: all that the handshake compares."""

    models: list[ServedModel]
    tokenizer_fingerprint: str
    """Of what makes ids of text and text of ids: see `common.render.tokenizer_fingerprint`."""
    chat_template_fingerprint: str | None
    """Null where the tokenizer has no chat template."""
    terminators: dict[str, int]
    """By template (`toolbench`, `chat`, `tools`), the id that ends an assistant turn; absent where it can't be used."""
    end_token_ids: list[int]
    """All of the model's ends of sequence, ascending: whatever it writes ends with the first of them."""
    vocabulary_size: int
    """Rows of the output layer, padding beyond the tokenizer's ids included."""
    max_top_k: int
    max_length: int
    abilities: list[Literal["score", "generate"]]
    dtype: str
    versions: dict[str, str]
    tool_layout: Literal["toolbench", "chat", "tools"] | None = None
    """In which its models were trained to call functions; null where the settings don't say."""
    replicas: int | None = None
    """How many share the work, all endpoints together; null where their number changes by itself."""
