"""AdamW over what learns, and the learning rate from warm-up to the last step."""

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from student_trainer.student_settings import OptimizerSettings

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def make_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> Optimizer:
    """The optimizer that `settings` names."""
    if settings.name == "paged_adamw_8bit":
        from bitsandbytes.optim.adamw import PagedAdamW8bit

        return PagedAdamW8bit(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def make_schedule(optimizer: Optimizer, settings: OptimizerSettings, steps: int) -> LRScheduler:
    """The rate rises linearly over the first part of `steps`, then takes the named course to the last of them."""
    warmup = round(steps * settings.warmup_fraction)
    return get_scheduler(SCHEDULES[settings.schedule], optimizer, num_warmup_steps=warmup, num_training_steps=steps)
