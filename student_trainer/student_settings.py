"""Settings of a run: the student, its loss and its optimizer. Torch-free."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from common.settings import FolderOrName, Settings


class LossSettings(Settings):
    """alpha * L_distill + (1 - alpha) * L_instruct, as `loss/loss.py` defines it."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """The weight of L_distill; L_instruct, the cross-entropy of the written tokens, has the rest."""
    temperature: float = Field(default=1.0, gt=0)
    """Tempers both sides. Other than 1 it is an approximation where top_k is below the vocabulary."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "skewed_kl"] = "forward_kl"
    """What L_distill is: how far the student's distribution is from the teacher's."""
    beta: float | None = Field(default=None, gt=0, lt=1)
    """For jsd: the teacher's part of the mixture, and the weight of its KL to the mixture."""
    skew: float | None = Field(default=None, gt=0, lt=1)
    """For skewed_kl: the teacher's part of the mixture that its KL is taken to."""
    tail: Literal["bucket", "renormalise"] = "bucket"
    """bucket: all ids outside the teacher's k count as one more mass. renormalise: they are left out, and what the
    student puts there costs nothing."""

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
    """Rank of each adapter's two factors."""
    alpha: int = Field(default=32, ge=1)
    """The adapter is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of the adapters' inputs."""
    target_modules: list[str] | str = "all-linear"
    """Layers that get an adapter: names or ends of names, a regular expression that a whole name matches, or
    all-linear. The head never gets one: all-linear leaves it out, and every other choice must."""
    use_rslora: bool = False
    """The adapter is scaled by alpha / sqrt(rank) instead."""
    use_dora: bool = False
    """The weights' magnitudes learn apart from their directions (DoRA). vLLM serves such a student merged only."""

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
    """LoRA adapters on a frozen base. null: no adapters, every weight learns (full fine-tuning)."""
    quantization: Literal["none", "nf4"] = "none"
    """How a frozen base is held. nf4: in 4 bits with double quantisation (QLoRA)."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """The dtype of matrix products and of a frozen base. Weights that learn, their gradients and the optimizer's
    moments are float32 all the same: bfloat16 would round most updates away."""
    gradient_checkpointing: bool = False
    """Activations are computed anew in the backward pass: less memory, one more forward pass."""

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
    """paged_adamw_8bit: bitsandbytes' AdamW, whose states take 8 bits and are paged to host memory."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """The rate after warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """The course of the rate from warm-up to the last step."""
    warmup_fraction: float = Field(default=0.04, ge=0, le=1)
    """The part of the run's steps over which the rate rises from zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this joint norm."""
