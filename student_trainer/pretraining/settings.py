"""Settings of pretraining: what `python -m student_trainer pretrain CONFIG.yaml` reads. Torch-free."""

from typing import Annotated

from pydantic import Field, model_validator

from common.settings import Settings, UserPath


class TokenizerSettings(Settings):
    """A byte-level BPE tokenizer: trained on the documents, or an existing one."""

    path: UserPath | None = None
    """Folder of an existing tokenizer to take; null trains one."""
    vocabulary_size: int = Field(default=1024, ge=300)
    """Largest number of entries, phrases and special tokens included; few documents may yield fewer."""
    phrase_share: float = Field(default=0.2, gt=0, le=1)
    """A run of words found in this share of documents becomes one token, such as a line of a fixed system prompt."""
    most_phrases: int = Field(default=64, ge=0)
    """Largest number of such runs."""
    training_documents: int = Field(default=3000, ge=1)
    """How many documents, from the first, the tokenizer is trained on."""
    heading: str | None = Field(default=None, min_length=1)
    """A text after which the name of a function stands, such as `{'name': '`: one token wherever it stands, so that
    initial weights can find names by descriptions."""


class ArchitectureSettings(Settings):
    """A Llama with tied embeddings."""

    layers: int = Field(ge=2)
    """Decoder layers."""
    hidden_size: int = Field(ge=32)
    """Size of the hidden states; a multiple of head_size."""
    mlp_size: int = Field(ge=32)
    """Size between the two matrices of an MLP."""
    head_size: int = Field(default=32, ge=32)
    """Size of an attention head."""
    max_positions: int = Field(default=8192, ge=128)
    """Longest sequence that the saved model allows."""

    @model_validator(mode="after")
    def _whole_heads(self) -> "ArchitectureSettings":
        if self.hidden_size % self.head_size:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of head_size {self.head_size}")
        return self


class StageSettings(Settings):
    """A stretch of training: which documents, and which of their tokens count."""

    steps: int = Field(ge=1)
    """Steps on documents."""
    shares: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    """Kinds of documents and their shares, in whatever unit; other kinds are left out. Empty: all as the files hold
    them."""
    answer_weight: float = Field(default=1, gt=0, allow_inf_nan=False)
    """How much a token of an answer counts in the loss; documents say under "answers" which characters these are."""
    other_weight: float = Field(default=1, gt=0, allow_inf_nan=False)
    """How much any other token counts."""

    @model_validator(mode="after")
    def _some(self) -> "StageSettings":
        if self.shares and not any(self.shares.values()):
            raise ValueError("all shares are 0: give one kind of documents at least, or leave shares out")
        return self


class PretrainSettings(Settings):
    """A model and its tokenizer, from documents alone."""

    documents: list[UserPath]
    """JSONL files with one {"text": …} a line, and perhaps "kind" and "answers"."""
    out: UserPath
    """Folder for the model in bfloat16 and its tokenizer."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """The tokenizer, trained or given."""
    architecture: ArchitectureSettings
    """The sizes of the model."""
    copy_steps: int = Field(default=0, ge=0)
    """Steps on random tokens that repeat, before the documents: from these a small model learns to copy."""
    stages: dict[str, StageSettings] = Field(min_length=1)
    """What it learns, stage after stage, by name; warm-up and cosine span them all."""
    batch_tokens: int = Field(default=6144, ge=256)
    """Tokens of one optimizer step, padding included."""
    max_length: int = Field(default=512, ge=16)
    """Tokens after which a document is cut."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """The rate after warm-up; a cosine takes it to a tenth."""
    circuit_rate: float = Field(default=0.07, gt=0, le=1)
    """Share of the learning rate at which weights learn that look names up from the start, where there's a heading."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """The part of all steps over which the rate rises from zero."""
    weight_decay: float = Field(default=0.05, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this joint norm."""
    seed: int = 0
    """Seed of the initial weights and of the order of documents."""
    threads: int | None = Field(default=None, ge=1)
    """Torch threads; null leaves torch's own choice."""
    report_every: int = Field(default=50, ge=1)
    """Steps between two lines of progress."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all."""
        return self.copy_steps + sum(stage.steps for stage in self.stages.values())

    @model_validator(mode="after")
    def _deep_enough(self) -> "PretrainSettings":
        if self.tokenizer.heading and (self.architecture.layers < 4 or self.architecture.hidden_size < 128):
            got = f"{self.architecture.layers} layers of {self.architecture.hidden_size}"
            raise ValueError(f"got {got} with a heading, expected 4 layers of 128 or more; or leave heading out")
        return self
