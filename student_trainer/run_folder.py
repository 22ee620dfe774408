"""What a run writes beside its checkpoints: settings as resolved, a line of metrics per step, a summary.

run_folder/
  config.yaml         settings as resolved
  metrics.jsonl       one line per step, and per validation; cut back to the checkpoint on resume
  checkpoints/step-N/ see checkpoint.py
  adapter/            the finished student, in PEFT's own format; model/, whole, where every weight learnt
  not_finite/step-N/  a step that stopped the run, see failed_step.py
  summary.json        the run in a few numbers
"""

import json
import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from common.errors import UserError
from student_trainer.bottleneck import verdict
from student_trainer.learning_settings import StudentSettings
from student_trainer.settings import TrainSettings

FREE = (
    "run_folder", "workers", "micro_batch_size", "micro_batch_tokens", "validate_every", "checkpoint_every",
    "keep_checkpoints", "data.validation", "data.validation_rows", "student.gradient_checkpointing", "teacher.url",
    "teacher.token_file", "teacher.source", "teacher.record_folder", "teacher.window", "teacher.max_window",
    "teacher.timeout_s", "teacher.attempts",
)  # fmt: skip
"""Settings that may change when a run is resumed: they move where and how fast, not what is learnt."""

Metrics = dict[str, Any]

log = logging.getLogger(__name__)


def checkpoints_of(run_folder: Path) -> Path:
    return run_folder / "checkpoints"


def metrics_of(run_folder: Path) -> Path:
    return run_folder / "metrics.jsonl"


def student_of(run_folder: Path, student: StudentSettings) -> Path:
    """Where the finished student is."""
    return run_folder / ("model" if student.lora is None else "adapter")


def log_of(run_folder: Path) -> Path:
    return run_folder / "log.txt"


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

    Raises UserError naming each setting that would change the training of a run that has checkpoints.
    """
    config = settings.run_folder / "config.yaml"
    if config.exists() and checkpoints_of(settings.run_folder).exists():
        _check_same(_with_defaults(yaml.safe_load(config.read_text())), _as_written(settings), config)
    try:
        settings.run_folder.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump(_as_written(settings), sort_keys=False))
    except OSError as error:
        raise UserError(f"run_folder: can't write {config}: {error.strerror}; choose another run_folder") from None


def append_metrics(run_folder: Path, metrics: Metrics) -> None:
    with metrics_of(run_folder).open("a") as stream:
        stream.write(json.dumps(metrics) + "\n")


def read_metrics(run_folder: Path) -> list[Metrics]:
    """All whole lines so far; a line torn by a crash is left out."""
    path = metrics_of(run_folder)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def cut_metrics(run_folder: Path, step: int) -> None:
    """Drop the metrics of steps after `step`: they will be made again."""
    kept = [metrics for metrics in read_metrics(run_folder) if metrics["progress/step"] <= step]
    draft = run_folder / ".metrics.partial"
    draft.write_text("".join(json.dumps(metrics) + "\n" for metrics in kept))
    draft.rename(metrics_of(run_folder))


def summarise(metrics: list[Metrics]) -> Metrics:
    """The run in a few numbers, from the lines of its metrics file."""
    steps = [line for line in metrics if "progress/used" in line]
    checks = [_validation(line) for line in metrics if "validation/loss" in line]
    parts = ("step", "waited", "stream", "compute", "optimizer", "checkpoint")
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
    return {"step": line["progress/step"], **named}


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
