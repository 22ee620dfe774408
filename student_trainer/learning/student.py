"""The student: a causal language model that learns by LoRA adapters or as a whole, split into hidden states and head.

The split lets the loss run over completion positions alone, and lets it work chunk by chunk through the head.

What learns is held in float32, whatever `student.dtype`: adapters are small, and a whole model held in bfloat16, with
its 8 bits of precision, would lose every update below 0.2% of a weight. In bfloat16, products run under autocast:
weights that learn are rounded as they are used, a frozen base is held rounded.

Legend: B = sequences, L = longest sequence, H = hidden size, N = completion positions, V = vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils.save_and_load import load_peft_weights
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from common.errors import UserError
from student_trainer.batching.batch import Batch
from student_trainer.learning.attention import attend_by_sequence
from student_trainer.learning.base import load_base
from student_trainer.learning.sharding import fill
from student_trainer.loss.fused import LossSums, loss_sums
from student_trainer.loss.head import Head
from student_trainer.loss.targets import LossScale
from student_trainer.student_settings import LoraSettings, LossSettings, StudentSettings

WHOLE = "model.safetensors"
"""Where `Student.save` puts a student without adapters."""


class Student(nn.Module):
    """A frozen base with adapters that learn, or a base that learns; matrix products run in `dtype`.

    `forward` computes the loss too, so that DDP sees all that learns.
    """

    def __init__(self, model: PeftModel | PreTrainedModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self._dtype = dtype

    @property
    def base(self) -> PreTrainedModel:
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        assert isinstance(base, PreTrainedModel)
        return base

    @property
    def vocabulary_size(self) -> int:
        return int(self.base.get_output_embeddings().weight.shape[0])

    def forward(self, batch: Batch, loss: LossSettings, scale: LossScale) -> LossSums:
        """The loss's sums on `batch`.

        No other method of a training step uses the head: inside `forward` DDP sees it, and FSDP has gathered it.
        """
        hidden = self.hidden(batch)
        with self._autocast(hidden.device):
            return loss_sums(hidden, self.head(), batch.targets, loss, scale)

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states [N, H] at `batch.hidden_indices`."""
        decoder, ids, mask = self.base.get_decoder(), batch.input_ids, batch.attention_mask
        with self._autocast(ids.device):
            out = decoder(input_ids=ids, attention_mask=mask, use_cache=False, **batch.attention_kwargs)
        return out.last_hidden_state.flatten(0, 1)[batch.hidden_indices]

    @torch.no_grad()
    def write(self, ids: Tensor, mask: Tensor, options: GenerationConfig, together: bool) -> Tensor:
        """What it writes behind prompts [B, P], padded on the left where `mask` is 0, as `options` say: ids [B, T].

        `together`: no worker ends before the last one does, as a sharded student needs; all of them must call it then.
        FSDP gathers for it as for `forward` (`sharding.shard`).
        """
        base: Any = self.base  # `generate` is typed for a protocol that transformers' own models don't meet
        with self._autocast(ids.device):
            written = base.generate(input_ids=ids, attention_mask=mask, generation_config=options, synced_gpus=together)
        assert isinstance(written, Tensor)
        return written[:, ids.shape[1] :]

    def head(self) -> Head:
        """The output layer: frozen beside adapters, which are refused on it; learning where everything learns."""
        layer = self.base.get_output_embeddings()
        return Head(layer.weight, layer.bias)

    def _autocast(self, device: torch.device) -> torch.autocast:
        # without its cache, which would hold a second copy of all weights till the end of the pass
        return torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32, cache_enabled=False)

    def trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def weights(self) -> dict[str, Tensor]:
        """What learns, by name: the parameters' own memory, sharded under FSDP. Tied ones come once."""
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        return {name: tensor for name, tensor in self.model.state_dict().items() if name in learning}

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the whole `weights` to `folder`: adapters in PEFT's own format, else model.safetensors in float32."""
        if isinstance(self.model, PeftModel):
            self.model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, an empty form
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: each.contiguous() for name, each in weights.items()}, folder / WHOLE)

    def load(self, folder: Path) -> None:
        """Take over the weights in `folder`, written by `save` of a student with the same settings."""
        if isinstance(self.model, PeftModel):
            own = get_peft_model_state_dict(self.model, save_embedding_layers=False)
            fill(own, load_peft_weights(str(folder), device="cpu"))
        else:
            fill(self.weights(), load_file(folder / WHOLE))


def load_student(settings: StudentSettings, device: torch.device, seed: int) -> Student:
    """Load the base and put fresh adapters on it, drawn from `seed`, or let all of it learn.

    Raises UserError when the model can't be read, or its logits are not a plain product of hidden states and head.
    """
    base = load_base(settings, device)
    base.requires_grad_(settings.lora is None)
    attend_by_sequence(base)
    if settings.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.train()
    torch.manual_seed(seed)
    model = base if settings.lora is None else _with_adapters(base, settings.lora)
    return Student(model, getattr(torch, settings.dtype)).train()


def _with_adapters(base: PreTrainedModel, lora: LoraSettings) -> PeftModel:
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules,
        use_rslora=lora.use_rslora, use_dora=lora.use_dora, bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise UserError(f"student.lora.target_modules: {error}") from None
    assert isinstance(model, PeftModel)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # to float32, from which autocast would only cast it back
    _check_adapters(model, base)
    return model


def _check_adapters(model: PeftModel, base: PreTrainedModel) -> None:
    if any(parameter.requires_grad for parameter in base.get_output_embeddings().parameters()):
        raise UserError("student.lora.target_modules includes the output head; adapters on it are not supported")
    tied = base.get_output_embeddings().weight is base.get_input_embeddings().weight
    if tied and any(parameter.requires_grad for parameter in base.get_input_embeddings().parameters()):
        raise UserError(
            "student.lora.target_modules includes the embeddings, which are tied to the output head; adapters on it "
            "are not supported"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("the student has no trainable parameter; check student.lora.target_modules")
