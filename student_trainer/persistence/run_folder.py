"""What a run writes beside its checkpoints: settings as resolved, a line of metrics per step, a summary.

run_folder/
  config.yaml         settings as resolved
  metrics.jsonl       one line per step, and per validation; cut back to the checkpoint on resume
  checkpoints/step-N/ see checkpoint.py
  adapter/            the finished student, in PEFT's own format; model/, whole, where every weight learnt
  not_finite/step-N/  a step that stopped the run, see failed_step.py
  summary.json        the run in a few numbers
  stop                asks the run to write a checkpoint and end; `touch` does, the next start removes it
"""

import json
import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from common.errors import UserError
from student_trainer.persistence import jsonl
from student_trainer.persistence.bottleneck import verdict
from student_trainer.persistence.run_lock import locked
from student_trainer.persistence.storage import open_storage
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import StudentSettings

FREE = (
    "run_folder", "workers", "micro_batch_size", "micro_batch_tokens", "validate_every", "checkpoint_every",
    "keep_checkpoints", "data.validation", "data.validation_rows", "student.gradient_checkpointing", "teacher.url",
    "teacher.token_file", "teacher.source", "teacher.record_folder", "teacher.window", "teacher.max_window",
    "teacher.timeout_s",
    "teacher.attempts", "teacher.patience_s", "teacher.on_new_revision", "teacher.quarantine_limit",
    "keep_best", "set_aside_limit",
)  # fmt: skip
"""Settings that may change when a run is resumed: they move where and how fast, not what is learnt."""

STEP = "progress/step"
Metrics = dict[str, Any]

log = logging.getLogger(__name__)


def metrics_of(run_folder: Path) -> Path:
    return run_folder / "metrics.jsonl"


def student_of(run_folder: Path, student: StudentSettings) -> Path:
    """Where the finished student is."""
    return run_folder / ("model" if student.lora is None else "adapter")


def log_of(run_folder: Path) -> Path:
    return run_folder / "log.txt"


def stop_of(run_folder: Path) -> Path:
    """The file that asks a run to write a checkpoint and end."""
    return run_folder / "stop"


def write_log(run_folder: Path) -> None:
    """Send what this process has to say to the run's log, whose new lines the progress shows."""
    handler = logging.FileHandler(log_of(run_folder))
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
    config = settings.run_folder / "config.yaml"
    storage = open_storage(settings.run_folder, settings.checkpoint_storage)
    try:
        settings.run_folder.mkdir(parents=True, exist_ok=True)
        with locked(settings.run_folder):
            before = _with_defaults(yaml.safe_load(config.read_text())) if config.exists() else {}
            if before and open_storage(settings.run_folder, before.get("checkpoint_storage")).steps():
                _check_same(before, _as_written(settings), config)
            elif before.get("checkpoint_storage") != settings.checkpoint_storage and storage.steps():
                raise UserError(
                    f"checkpoint_storage: {storage} holds another run's checkpoints; give this run_folder another "
                    "name, or choose another storage"
                )
            jsonl.replace(config, yaml.safe_dump(_as_written(settings), sort_keys=False).encode())
            stop_of(settings.run_folder).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"run_folder: can't write {config}: {error.strerror}; choose another run_folder") from None


def append_metrics(run_folder: Path, metrics: Metrics) -> None:
    """Add a line; UserError when it can't be written."""
    jsonl.append(metrics_of(run_folder), [metrics])


def read_metrics(run_folder: Path) -> list[Metrics]:
    """All whole lines so far; a line torn by a crash is left out."""
    return jsonl.read(metrics_of(run_folder), STEP)


def newest_step(run_folder: Path) -> int:
    """The last step with metrics; 0 before the first."""
    return max((int(line[STEP]) for line in read_metrics(run_folder)), default=0)


def cut_metrics(run_folder: Path, step: int) -> None:
    """Drop the metrics of steps after `step`: they will be made again."""
    jsonl.cut_back(metrics_of(run_folder), STEP, step)


def summarise(metrics: list[Metrics]) -> Metrics:
    """The run in a few numbers, from the lines of its metrics file."""
    steps = [line for line in metrics if "progress/used" in line]
    checks = [_validation(line) for line in metrics if "validation/loss" in line]
    parts = ("step", "waited", "outage", "stream", "compute", "optimizer", "checkpoint")
    times = {part: sum(line.get(f"time/{part}_s", 0.0) for line in steps) for part in parts}
    seconds = times["step"]
    names = ("used", "quarantined", "dropped_by_length", "tokens", "positions")
    totals = {name: int(sum(line[f"progress/{name}"] for line in steps)) for name in names}
    answer_bytes = sum(line["progress/answer_bytes"] for line in steps)
    return {
        "steps": len(steps),
        **totals,
        "bytes_per_position": round(answer_bytes / max(totals["positions"], 1), 1),
        "seconds": round(seconds, 3),
        "tokens_per_s": round(totals["tokens"] / max(seconds, 1e-9), 1),
        "waited_fraction": round(times["waited"] / max(seconds, 1e-9), 4),
        "times_s": {part: round(total, 3) for part, total in times.items()},
        "staleness": max((line.get("pipeline/staleness", 0) for line in steps), default=0),
        "verdict": verdict(steps),
        "validation_before": checks[0] if checks else None,
        "validation_after": checks[-1] if checks else None,
    }


def _validation(line: Metrics) -> Metrics:
    named = {name.removeprefix("validation/"): line[name] for name in line if name.startswith("validation/")}
    return {"step": line[STEP], **named}


def write_summary(run_folder: Path) -> None:
    summary = summarise(read_metrics(run_folder))
    log.info("%s", summary["verdict"])
    (run_folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def is_finished(run_folder: Path, student: StudentSettings) -> bool:
    """Whether all that the end of a run with such a student writes is there."""
    return student_of(run_folder, student).exists() and (run_folder / "summary.json").exists()


def _with_defaults(written: Metrics) -> Metrics:
    """Settings as an earlier release wrote them, with the defaults of those that it didn't know."""
    try:
        return _as_written(TrainSettings.model_validate(written))
    except ValidationError:  # it knew others: those are named as changed
        return written


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
