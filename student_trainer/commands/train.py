"""`python -m student_trainer train CONFIG.yaml [--dotted.setting VALUE]...`: train a student as the file says."""

from pathlib import Path

from common.command_line import settings_of
from student_trainer.persistence.run_folder import newest_step
from student_trainer.settings import TrainSettings

STOPPED = 143
"""Exit code of a run that SIGTERM stopped, as shells count it."""


def main(arguments: list[str]) -> int:
    """Read the settings, then train; heavy libraries are imported in between."""
    about = "Train a student on the live teacher, its record, or recorded completions alone."
    settings = with_absolute_paths(settings_of(TrainSettings, "python -m student_trainer train", about, arguments))

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
            holder[key] = str(Path(holder[key]).resolve())
    if settings.checkpoint_storage and "://" not in settings.checkpoint_storage:
        values["checkpoint_storage"] = str(Path(settings.checkpoint_storage).resolve())
    model = Path(settings.student.model)
    if model.is_dir():
        values["student"]["model"] = str(model.resolve())
    return TrainSettings.model_validate(values)


_PATHS = (
    ("", "run_folder"), ("data", "train"), ("data", "validation"), ("teacher", "token_file"),
    ("teacher", "record_folder"),
)  # fmt: skip
