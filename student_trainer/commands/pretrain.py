"""`python -m student_trainer pretrain CONFIG.yaml [--dotted.setting VALUE]...`: make a small base model."""

from common.command_line import settings_of
from student_trainer.pretraining.settings import PretrainSettings


def main(arguments: list[str]) -> int:
    """Read the settings, then pretrain; heavy libraries are imported in between."""
    about = "Make a small base model from documents, as student_trainer/configs/pretrain-*.yaml do."
    pretrain(settings_of(PretrainSettings, "python -m student_trainer pretrain", about, arguments))
    return 0


def pretrain(settings: PretrainSettings) -> None:
    """Write a model and its tokenizer to `settings.out`; the same settings and documents give the same weights.

    Raises UserError when documents are missing or aren't JSONL with a "text", or a tokenizer's folder has none.
    """
    from student_trainer.pretraining.base_model import make_base_model

    make_base_model(settings)
