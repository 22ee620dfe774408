"""The student: a causal language model with LoRA adapters, split into hidden states and head.

The split lets the loss run over completion positions alone, and lets it work chunk by chunk through the head.

Legend: B = sequences, L = longest sequence, H = hidden size, N = completion positions, V = vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from common.errors import UserError
from student_trainer.attention import attend_by_sequence
from student_trainer.batch import Batch
from student_trainer.loss import Head
from student_trainer.settings import StudentSettings


class Student(nn.Module):
    """A frozen base with trainable adapters. `forward` gives hidden states, so that DDP wraps all that learns."""

    def __init__(self, model: PeftModel) -> None:
        super().__init__()
        self.model = model

    @property
    def base(self) -> PreTrainedModel:
        base = self.model.get_base_model()
        assert isinstance(base, PreTrainedModel)
        return base

    @property
    def vocabulary_size(self) -> int:
        return int(self.base.get_output_embeddings().weight.shape[0])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, rows: Tensor, **apart: Any) -> Tensor:
        """Last hidden states [N, H] at `rows`, indices into the batch flattened to [B * L]."""
        decoder = self.base.get_decoder()
        states = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **apart).last_hidden_state
        return states.flatten(0, 1)[rows]

    def head(self) -> Head:
        """The output layer, frozen: adapters on it are refused."""
        layer = self.base.get_output_embeddings()
        return Head(layer.weight, layer.bias)

    def trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's own format."""
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, an empty form

    def load_adapter(self, folder: Path) -> None:
        """Take over the adapter weights in `folder`, written by `save_adapter` of a student with the same settings."""
        device = next(iter(self.trainable())).device
        set_peft_model_state_dict(self.model, load_peft_weights(str(folder), device=str(device)))


def hidden_of(student: nn.Module, batch: Batch) -> Tensor:
    """Hidden states [N, H] of a batch, through the student or the DDP module around it."""
    return student(batch.input_ids, batch.attention_mask, batch.rows, **batch.apart)


def load_student(settings: StudentSettings, device: torch.device, seed: int) -> Student:
    """Load the base, freeze it and put fresh adapters on it, drawn from `seed`.

    Raises UserError when the model can't be read, or its logits are not a plain product of hidden states and head.
    """
    base = load_base(settings, device)
    base.requires_grad_(False)
    attend_by_sequence(base)
    if settings.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.train()
    torch.manual_seed(seed)
    try:
        student = Student(get_peft_model(base, _lora_config(settings)))
    except ValueError as error:
        raise UserError(f"student.lora.target_modules: {error}") from None
    _check_head(student)
    return student.train()


def _lora_config(settings: StudentSettings) -> LoraConfig:
    lora = settings.lora
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules,
        bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip


def load_base(settings: StudentSettings, device: torch.device) -> PreTrainedModel:
    """The base as it is trained on: in its type, and in 4 bits if so set. Raises UserError when it can't be read."""
    dtype = getattr(torch, settings.dtype)
    quantization = None
    if settings.quantization == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    config = read_config(settings.model)
    try:
        return AutoModelForCausalLM.from_pretrained(
            settings.model, config=config, dtype=dtype, quantization_config=quantization, device_map={"": device}
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"student.model: can't load the weights of {settings.model!r}: {reason} Give a model folder or hub name."
        ) from None


def read_config(model: str) -> PreTrainedConfig:
    """The model's configuration.

    Raises UserError when `model` is no folder or hub name that can be read, or when it scales its logits.
    """
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"student.model: can't read {model!r}: {reason} Give a model folder or hub name.") from None
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise UserError(f"student.model: {model!r} has {name}, which the loss doesn't apply; use another student")
    return config


def _check_head(student: Student) -> None:
    head = student.base.get_output_embeddings()
    if any(parameter.requires_grad for parameter in head.parameters()):
        raise UserError("student.lora.target_modules includes the output head; adapters on it are not supported")
    if not student.trainable():
        raise UserError("the student has no trainable parameter; check student.lora.target_modules")
