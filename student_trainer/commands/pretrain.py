"""`python -m student_trainer pretrain CONFIG.yaml [--dotted.override VALUE ...]`: make a small base model."""

import argparse

from common import settings as common_settings
from student_trainer.pretraining.settings import PretrainSettings


def main(arguments: list[str]) -> int:
    """Read the settings, then pretrain; heavy libraries are imported in between."""
    parser = argparse.ArgumentParser(prog="python -m student_trainer pretrain", description=__doc__)
    parser.add_argument("config", help="YAML file, see student_trainer/configs/pretrain-*.yaml")
    parser.epilog = "Any setting can be overridden: --steps 200"
    options, overrides = parser.parse_known_args(arguments)
    pretrain(common_settings.load(PretrainSettings, options.config, overrides))
    return 0


def pretrain(settings: PretrainSettings) -> None:
    """Write a model and its tokenizer to `settings.out`; the same settings and documents give the same weights.

    Raises UserError when documents are missing or aren't JSONL with a "text", or a tokenizer's folder has none.
    """
    from student_trainer.pretraining.base_model import make_base_model

    make_base_model(settings)
