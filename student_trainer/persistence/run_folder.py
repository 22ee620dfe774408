"""What a run writes beside its checkpoints: its log, its settings as resolved, a line of metrics per step."""

import logging
from pathlib import Path
from typing import Any

import yaml

from common import jsonl
from common.errors import UserError
from common.files import write_atomically
from common.run_folder import RunFolder
from student_trainer.persistence import step_lines
from student_trainer.persistence.run_lock import locked
from student_trainer.persistence.storage import open_storage
from student_trainer.settings import TrainSettings

FREE = (
    "run_folder", "workers", "micro_batch_size", "micro_batch_tokens", "validate_every", "checkpoint_every",
    "keep_checkpoints", "data.validation", "data.validation_rows", "student.gradient_checkpointing", "teacher.url",
    "teacher.token_file", "teacher.source", "teacher.record_folder", "teacher.window", "teacher.max_window",
    "teacher.timeout_s",
    "teacher.attempts", "teacher.patience_s", "teacher.on_new_revision", "teacher.quarantine_limit",
    "keep_best", "set_aside_limit", "monitors", "qualification", "allow_unqualified_teacher", "watchdog",
)  # fmt: skip
"""Settings that may change when a run is resumed: they move where and how fast, not what is learnt."""

STEP = "progress/step"
Metrics = dict[str, Any]


def write_log(run_folder: Path) -> None:
    """Send what this process has to say to the run's log, whose new lines the progress shows."""
    handler = logging.FileHandler(RunFolder(run_folder).log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    for package in ("student_trainer", "common"):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)


def prepare(settings: TrainSettings) -> None:
    """Create the run folder and write `config.yaml`.

    Raises UserError naming each setting that would change the training of a run that has checkpoints, when its
    checkpoints can't be reached, when those of another run are in their place, or while another run writes there: what
    asks that one to stop is its own.
    """
    config = settings.files.config
    storage = open_storage(settings.run_folder, settings.checkpoint_storage)
    try:
        settings.run_folder.mkdir(parents=True, exist_ok=True)
        with locked(settings.run_folder):
            before = yaml.safe_load(config.read_text()) if config.exists() else {}
            if before and open_storage(settings.run_folder, before.get("checkpoint_storage")).steps():
                _check_same(before, _as_written(settings), config)
            elif before.get("checkpoint_storage") != settings.checkpoint_storage and storage.steps():
                raise UserError(
                    f"checkpoint_storage: {storage} holds another run's checkpoints; give this run_folder another "
                    "name, or choose another storage"
                )
            write_atomically(config, yaml.safe_dump(_as_written(settings), sort_keys=False))
            settings.files.stop.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"run_folder: can't write {config}: {error.strerror}; choose another run_folder") from None


def append_metrics(run_folder: Path, metrics: Metrics) -> None:
    """Add a line; UserError when it can't be written."""
    jsonl.append(RunFolder(run_folder).metrics, [metrics])


def read_metrics(run_folder: Path) -> list[Metrics]:
    """All whole lines so far; a line torn by a crash is left out."""
    return step_lines.read(RunFolder(run_folder).metrics, STEP)


def newest_step(run_folder: Path) -> int:
    """The last step with metrics; 0 before the first."""
    return max((int(line[STEP]) for line in read_metrics(run_folder)), default=0)


def cut_metrics(run_folder: Path, step: int) -> None:
    """Drop the metrics of steps after `step`, and what the watchdog saw then: they will be made again."""
    for file in (RunFolder(run_folder).metrics, RunFolder(run_folder).watchdog):
        step_lines.cut_back(file, STEP, step)


def _as_written(settings: TrainSettings) -> Metrics:
    return settings.model_dump(mode="json")


def _check_same(before: Metrics, now: Metrics, config: Path) -> None:
    old, new = _flatten(before), _flatten(now)
    changed = [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]
    if changed:
        raise UserError(
            f"{config.parent} holds a run with other settings: {'; '.join(changed)}; choose a new run_folder"
        )


def _flatten(values: Metrics, prefix: str = "") -> Metrics:
    flat: Metrics = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
