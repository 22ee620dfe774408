"""`python -m student_trainer train CONFIG.yaml [--dotted.override VALUE ...]`: train a student as the file says."""

import argparse
from pathlib import Path

from common import settings as common_settings
from student_trainer.persistence.run_folder import newest_step
from student_trainer.settings import TrainSettings

STOPPED = 143
"""Exit code of a run that SIGTERM stopped, as shells count it."""


def main(arguments: list[str]) -> int:
    """Read the settings, then train; heavy libraries are imported in between."""
    parser = argparse.ArgumentParser(prog="python -m student_trainer train", description=__doc__)
    parser.add_argument("config", help="YAML file, see student_trainer/configs/")
    parser.epilog = "Any setting can be overridden: --optimizer.learning_rate 1e-4"
    options, overrides = parser.parse_known_args(arguments)
    settings = with_absolute_paths(common_settings.load(TrainSettings, options.config, overrides))

    from student_trainer.ray_train.launch import launch

    if not launch(settings):
        print(f"stopped after step {newest_step(settings.run_folder)}; the same command resumes")
        return STOPPED
    print(f"done: student and summary are in {settings.run_folder}")
    return 0


def with_absolute_paths(settings: TrainSettings) -> TrainSettings:
    """Workers have working directories of their own, so relative paths are resolved against this one's."""
    values = settings.model_dump(mode="json")
    for section, key in _PATHS:
        holder = values[section] if section else values
        if holder and holder[key] is not None:
            holder[key] = str(Path(holder[key]).expanduser().resolve())
    if settings.checkpoint_storage and "://" not in settings.checkpoint_storage:
        values["checkpoint_storage"] = str(Path(settings.checkpoint_storage).expanduser().resolve())
    model = Path(settings.student.model).expanduser()
    if model.is_dir():
        values["student"]["model"] = str(model.resolve())
    return TrainSettings.model_validate(values)


_PATHS = (
    ("", "run_folder"), ("data", "train"), ("data", "validation"), ("teacher", "token_file"),
    ("teacher", "record_folder"),
)  # fmt: skip
