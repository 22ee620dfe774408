"""Settings of a run: the student, its loss and its optimizer. Torch-free."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from common.settings import FolderOrName, Settings


class LossSettings(Settings):
    """alpha * L_distill + (1 - alpha) * L_instruct."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """The teacher's share of the loss; the rest is cross-entropy on the completion."""
    temperature: float = Field(default=1.0, gt=0)
    """Tempers both sides; other than 1 it is an approximation when top_k is below the vocabulary."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "skewed_kl"] = "forward_kl"
    """Of the teacher's masses from the student's: L_distill."""
    beta: float | None = Field(default=None, gt=0, lt=1)
    """For jsd: the teacher's share of the mixture, and the weight of its KL to it."""
    skew: float | None = Field(default=None, gt=0, lt=1)
    """For skewed_kl: the teacher's share of the mixture that its KL is taken to."""
    tail: Literal["bucket", "renormalise"] = "bucket"
    """bucket: all ids outside the teacher's k are one mass more. renormalise: they are left out, and what the student
    puts there costs nothing."""

    @model_validator(mode="after")
    def _mixtures_have_a_share(self) -> "LossSettings":
        for name, divergence in (("beta", "jsd"), ("skew", "skewed_kl")):
            given, needed = getattr(self, name) is not None, self.divergence == divergence
            if needed and not given:
                raise ValueError(f"divergence {divergence} needs {name}, between 0 and 1")
            if given and not needed:
                raise ValueError(f"{name} is for divergence {divergence}, got {self.divergence}; remove {name}")
        return self


class LoraSettings(Settings):
    """PEFT LoRA on the student."""

    rank: int = Field(default=16, ge=1)
    """Columns of each adapter's two matrices."""
    alpha: int = Field(default=32, ge=1)
    """The adapter is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped while it learns."""
    target_modules: list[str] | str = "all-linear"
    """Which layers get an adapter: names or ends of names, a regular expression that a whole name matches, or
    all-linear, which leaves the head out, as every choice must."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) instead."""
    use_dora: bool = False
    """Learn the weights' magnitudes apart from their direction. vLLM serves such a student merged only."""

    @field_validator("target_modules")
    @classmethod
    def _is_an_expression(cls, modules: list[str] | str) -> list[str] | str:
        try:
            re.compile(modules if isinstance(modules, str) else "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return modules


class StudentSettings(Settings):
    """The model that learns."""

    model: FolderOrName
    """Folder or hub name of the base model; its tokenizer must be the teacher's."""
    lora: LoraSettings | None = LoraSettings()
    """null: no adapters, every weight learns (full fine-tuning)."""
    quantization: Literal["none", "nf4"] = "none"
    """nf4: 4-bit base with double quantisation (QLoRA)."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the products and of a frozen base. Weights that learn, their gradients and the optimizer's means are float32
    all the same: bfloat16 would round most updates away."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, slower steps."""

    @property
    def is_whole(self) -> bool:
        """Whether every weight learns, so that it ends as a whole model."""
        return self.lora is None

    @model_validator(mode="after")
    def _can_learn(self) -> "StudentSettings":
        if self.lora is None and self.quantization != "none":
            raise ValueError(
                f"quantization {self.quantization} can't learn itself; set lora, or quantization: none for lora: null"
            )
        return self


class OptimizerSettings(Settings):
    """AdamW with linear warm-up, then a schedule to the last step."""

    name: Literal["adamw", "paged_adamw_8bit"] = "adamw"
    """paged_adamw_8bit: AdamW of bitsandbytes, its means in 8 bits that leave the GPU when memory is short."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """The highest, at the end of the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How it falls from there to 0 at the last step; constant doesn't."""
    warmup_fraction: float = Field(default=0.04, ge=0, le=1)
    """Share of the steps in which it rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this norm where its own is larger."""
