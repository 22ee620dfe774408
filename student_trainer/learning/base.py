"""The student's base model: read from a folder or the hub, refused where the loss can't apply to it."""

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from common.errors import UserError
from student_trainer.student_settings import StudentSettings


def load_base(settings: StudentSettings, device: torch.device) -> PreTrainedModel:
    """The base as it is trained on: in 4 bits, in its type, or in float32 if it learns itself.

    On the device `meta` it comes without weights. Raises UserError when it can't be read.
    """
    dtype = torch.float32 if settings.lora is None else getattr(torch, settings.dtype)
    quantization = None
    if settings.quantization == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    config = read_config(settings.model)
    if device.type == "meta":
        return _empty_base(config, dtype)
    try:
        return AutoModelForCausalLM.from_pretrained(
            settings.model, config=config, dtype=dtype, quantization_config=quantization, device_map={"": device}
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"student.model: can't load the weights of {settings.model!r}: {reason} Give a model folder or hub name."
        ) from None


def _empty_base(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model with parameters that have no values; its buffers, which no file holds, have theirs."""
    with init_empty_weights(include_buffers=False):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
    base.tie_weights()
    assert isinstance(base, PreTrainedModel)
    return base


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
