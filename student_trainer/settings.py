"""Settings of a run: what `python -m student_trainer train CONFIG.yaml` reads. Torch-free, so `--help` is instant."""

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from common.api import MAX_TEMPERATURE
from common.run_folder import RunFolder
from common.settings import FolderOrName, Settings, UserPath
from common.teacher_client.settings import TeacherClientSettings
from student_trainer.guard_settings import QualificationSettings, WatchdogSettings
from student_trainer.student_settings import LossSettings, OptimizerSettings, StudentSettings

MonitorName = Literal["tensorboard", "wandb", "mlflow"]


class DataSettings(Settings):
    """Where the prompts are and how they become tokens."""

    train: UserPath
    """Folder of Parquet shards made by `python -m common.toolbench convert`."""
    validation: UserPath | None = None
    """Held-out shards, or none."""
    validation_rows: int = Field(default=64, ge=1)
    """How many rows of `validation`, from its start, are the fixed held-out slice."""
    template: Literal["toolbench", "chat", "tools"] = "toolbench"
    """How turns become text: in ToolBench's own layout, by the tokenizer's chat template, or by that with the functions
    as its `tools` and calls in its own form."""
    max_length: int = Field(default=8192, ge=16)
    """Most tokens of prompt and completion together; longer rows are quarantined by name."""


class CompletionSettings(Settings):
    """Who writes the completion, and how a written one is sampled."""

    writer: dict[Literal["dataset", "teacher", "student"], float] = {"dataset": 1.0}
    """Fractions by writer; they sum to 1. Each prompt's writer is drawn from a hash of (seed, epoch, index)."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Most tokens of a written completion."""
    temperature: float = Field(default=1.0, ge=0, le=MAX_TEMPERATURE)
    """0 takes the most likely token each time."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Samples from the most likely tokens that hold this mass together."""
    keep_length_cut: bool = False
    """Train on completions cut by length too; they teach no end, so they are dropped and counted by default."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> "CompletionSettings":
        if any(share < 0 for share in self.writer.values()) or abs(sum(self.writer.values()) - 1) > 1e-6:
            raise ValueError(f"the fractions in writer sum to {sum(self.writer.values())}, expected 1, none negative")
        return self


class LiveTeacherSettings(TeacherClientSettings):
    """The live teacher, and the record of what it said."""

    source: Literal["live", "record", "live+record"] = "live"
    """live asks the teacher, but not again for what this run folder's own record holds of the same request and
    revision, as after a crash; record replays `record_folder`; live+record replays what it holds, asks for the rest."""
    record_folder: UserPath | None = None
    """Record to replay; the run's own by default."""
    window: int | None = Field(default=None, ge=1)
    """Prompts that a worker has asked about and not used; null sizes it by latency and step time."""
    max_window: int = Field(default=256, ge=1)
    """Most that the window may be, and most answers that a worker holds."""
    quarantine_limit: float = Field(default=0.05, ge=0, le=1)
    """Largest share of prompts that the teacher may refuse or fail to answer before the run stops, judged from the
    50th on."""

    @model_validator(mode="after")
    def _window_within_bounds(self) -> "LiveTeacherSettings":
        if self.window is not None and self.window > self.max_window:
            raise ValueError(
                f"got window {self.window} above max_window {self.max_window}; raise max_window to it, or set window: "
                "null, so that it sizes itself"
            )
        return self


class WorkerSettings(Settings):
    """The student pool."""

    count: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """So many, or [fewest, most]: as many as the cluster has room for, more or fewer as nodes come and go."""
    max_failures: int = Field(default=5, ge=0)
    """How often in a row workers may die without a step further before the run ends; 0 ends it at the first death."""
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """ddp: each worker holds the whole student. fsdp: workers hold a part each, for a student that doesn't fit one GPU;
    every layer is gathered when it computes. A run may change between the two when it is resumed."""
    gpus: float = Field(default=1, ge=0)
    """GPUs per worker; 0 trains on the CPU."""
    cpus: float = Field(default=1, ge=0)
    """CPUs per worker."""
    pool: str | None = "student_pool"
    """Custom Ray resource that marks the nodes of the student pool; null places workers anywhere."""
    threads: int | None = Field(default=None, ge=1)
    """Torch threads per worker; part of what makes a replay bit-equal."""

    @property
    def fewest(self) -> int:
        return self.count if isinstance(self.count, int) else self.count[0]

    @property
    def most(self) -> int:
        return self.count if isinstance(self.count, int) else self.count[1]

    @model_validator(mode="after")
    def _from_fewest_to_most(self) -> "WorkerSettings":
        if self.fewest > self.most:
            raise ValueError(f"workers.count [{self.fewest}, {self.most}] is [fewest, most]; put the smaller one first")
        return self


class TrainSettings(Settings):
    """A whole run."""

    run_folder: UserPath
    """Everything the run writes; a run folder that holds checkpoints is resumed."""
    mode: Literal["kd", "sft"] = "kd"
    """kd asks the teacher; sft trains on recorded completions alone, without a teacher."""
    data: DataSettings
    """Where the prompts are and how they become tokens."""
    student: StudentSettings
    """The model that learns."""
    teacher: LiveTeacherSettings | None = None
    """The live teacher; for mode kd alone."""
    qualification: QualificationSettings = QualificationSettings()
    """What a live teacher must show on rows of `data.validation` before the first step."""
    allow_unqualified_teacher: bool = False
    """Learn from it all the same, with a warning: for experiments on what such a teacher does."""
    completion: CompletionSettings = CompletionSettings()
    """Who writes the completion."""
    loss: LossSettings = LossSettings()
    """What the student is measured by."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How it is updated."""
    workers: WorkerSettings = WorkerSettings()
    """How many processes train, and where."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts per optimizer step, over all workers."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Sequences per forward pass of one worker, padded to the longest; 4 unless micro_batch_tokens is given."""
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens per forward pass of one worker: sequences end to end, without padding, none seeing another. One longer
    than this is alone. Given instead of micro_batch_size, never beside it."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the rows of data.train."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many steps even inside an epoch."""
    shuffle: Literal["rows", "traces"] = "rows"
    """What the global order shuffles: rows, or whole traces, whose rows stay side by side. Rows of one trace that meet
    in a step are read once where the template lets them (`prefix_sharing.py`), but a step then sees fewer queries."""
    shuffle_seed: int = 0
    """Seed of the global order of prompts."""
    seed: int = 0
    """Seed of adapter initialisation, dropout and sampling."""
    watchdog: WatchdogSettings | None = WatchdogSettings()
    """What the student writes is watched, and a collapse of its format ends the run. null: it isn't."""
    set_aside_limit: float = Field(default=0.5, ge=0, le=1)
    """Largest share of prompts that may be set aside, whatever the reason, before the run stops: too long, refused, cut
    by length. Judged from the 50th prompt on; from a tenth on the log warns."""
    validate_every: int | None = Field(default=None, ge=1)
    """Steps between validations; null validates before the first and after the last step only."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints; the last step has one anyway."""
    checkpoint_storage: FolderOrName | None = None
    """URI or folder, as `storage_path` of Ray Train; a folder there, named like the run folder, holds the checkpoints.
    null: the run folder holds them."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints to keep."""
    keep_best: int = Field(default=1, ge=0)
    """How many to keep besides for their validation loss; those made without a validation don't compete."""

    monitors: list[MonitorName] = []
    """Dashboards that show the metrics too, beside metrics.jsonl. tensorboard writes to the run folder; wandb and
    mlflow take their keys and addresses from their own variables in the workers' environment."""

    @property
    def files(self) -> RunFolder:
        """What the run writes."""
        return RunFolder(self.run_folder)

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_cut_micro_batches(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        size, tokens = values.get("micro_batch_size"), values.get("micro_batch_tokens")
        if size is not None and tokens is not None:
            raise ValueError(
                f"got micro_batch_size {size} and micro_batch_tokens {tokens}, expected one; set the other to null"
            )
        return values | ({"micro_batch_size": 4} if size is None and tokens is None else {})

    @model_validator(mode="after")
    def _teacher_when_distilling(self) -> "TrainSettings":
        if self.mode == "kd" and self.teacher is None:
            raise ValueError("mode kd needs the section teacher (url, model); or set mode: sft")
        if self.mode == "sft" and self.teacher is not None:
            raise ValueError("mode sft asks no teacher; remove the section teacher or set mode: kd")
        return self

    @model_validator(mode="after")
    def _can_be_cut(self) -> "TrainSettings":
        for name, got, fit in (
            ("student.quantization", self.student.quantization, "none"),
            ("optimizer.name", self.optimizer.name, "adamw"),
        ):
            if self.workers.parallelism == "fsdp" and got != fit:
                raise ValueError(
                    f"workers.parallelism fsdp can't shard {name} {got}; set {name}: {fit}, or parallelism: ddp"
                )
        return self

    @model_validator(mode="after")
    def _something_to_compare(self) -> "TrainSettings":
        if self.teacher and self.teacher.top_k == 1 and self.loss.tail == "renormalise":
            raise ValueError(
                "loss.tail renormalise with teacher.top_k 1 compares one id with itself, which teaches nothing; "
                "set tail: bucket or a larger top_k"
            )
        return self
