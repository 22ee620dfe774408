"""The teacher's HTTP API as typed bodies: what clients send, what the server checks. Unknown fields are refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SEQUENCES = 256
MAX_SEQUENCE_TOKENS = 131_072
MAX_TOP_K = 4_096
MAX_TEMPERATURE = 2

TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(max_length=MAX_SEQUENCE_TOKENS, fail_fast=True)
]


class Body(BaseModel):
    """Base of every request and answer body."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class GenerateOptions(Body):
    """How a completion is written. `temperature` shapes the sampling alone: logprobs are always at temperature 1."""

    max_tokens: int = Field(strict=True, ge=1, le=MAX_SEQUENCE_TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, strict=True, ge=0, lt=2**63)
    stop_token_ids: TokenIds = []


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


class DistillRequest(Body):
    """Body of `POST /v1/distill`. The answer is an Arrow IPC stream of `common.wire` records, each as it finishes."""

    model: str = Field(max_length=256)
    top_k: int = Field(strict=True, ge=1, le=MAX_TOP_K)
    sequences: Annotated[list[DistillSequence], Field(min_length=1, max_length=MAX_SEQUENCES)]
    logprob_dtype: Literal["float16", "float32"] = "float16"


class ServedModel(Body):
    """A name that `model` may take: the base itself, or an adapter on it. `revision` changes whenever weights do."""

    name: str
    adapter: bool
    revision: str


class TeacherCard(Body):
    """Answer of `GET /v1/teacher`: all that the handshake compares."""

    models: list[ServedModel]
    tokenizer_fingerprint: str
    vocabulary_size: int
    max_top_k: int
    max_length: int
    abilities: list[Literal["score", "generate"]]
    dtype: str
    versions: dict[str, str]
