"""Settings of pretraining: what `python -m student_trainer pretrain CONFIG.yaml` reads. Torch-free."""

from pathlib import Path

from pydantic import Field, model_validator

from common.settings import Settings


class TokenizerSettings(Settings):
    """A byte-level BPE tokenizer: trained on the documents, or an existing one."""

    path: Path | None = None
    """Folder of an existing tokenizer to take; null trains one."""
    vocabulary_size: int = Field(default=1024, ge=300)
    """Most entries, phrases and special tokens among them; few documents may yield fewer."""
    phrase_share: float = Field(default=0.2, gt=0, le=1)
    """A run of words found in this share of documents becomes one token, such as a line of a fixed system prompt."""
    most_phrases: int = Field(default=64, ge=0)
    training_documents: int = Field(default=3000, ge=1)
    """How many documents, from the first, the tokenizer is trained on."""


class ArchitectureSettings(Settings):
    """A Llama with tied embeddings."""

    layers: int = Field(ge=2)
    hidden_size: int = Field(ge=32)
    mlp_size: int = Field(ge=32)
    head_size: int = Field(default=32, ge=32)
    max_positions: int = Field(default=8192, ge=128)

    @model_validator(mode="after")
    def _whole_heads(self) -> "ArchitectureSettings":
        if self.hidden_size % self.head_size:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of head_size {self.head_size}")
        return self


class PretrainSettings(Settings):
    """A model and its tokenizer, from documents alone."""

    documents: list[Path]
    """JSONL files with one {"text": …} a line; loss is on every token."""
    out: Path
    """Folder for the model in bfloat16 and its tokenizer."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    architecture: ArchitectureSettings
    copy_steps: int = Field(default=0, ge=0)
    """Steps on random tokens that repeat, before the documents: from these a small model learns to copy."""
    steps: int = Field(ge=1)
    """Steps on documents."""
    batch_tokens: int = Field(default=6144, ge=256)
    """Tokens of one optimizer step, padding included."""
    max_length: int = Field(default=512, ge=16)
    """Tokens after which a document is cut."""
    learning_rate: float = Field(default=3e-3, gt=0)
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """Torch threads; null leaves torch's own choice."""
    report_every: int = Field(default=50, ge=1)
