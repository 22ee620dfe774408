"""Names of the files of a run folder: a trainer writes them; demos and evaluations read them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """What a run writes below `path`; each may be missing before its time."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings as resolved."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One line per step, and per validation; cut back to the checkpoint on resume."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files, where `monitors` has it."""
        return self.path / "tensorboard"

    @property
    def wandb_id(self) -> Path:
        """The id of the run at Weights & Biases, where `monitors` has it."""
        return self.path / "wandb_id"

    @property
    def log(self) -> Path:
        """What the run had to say."""
        return self.path / "log.txt"

    @property
    def used(self) -> Path:
        """The prompts that each step trained on."""
        return self.path / "used.jsonl"

    @property
    def quarantine(self) -> Path:
        """The prompts that gave no example, and why."""
        return self.path / "quarantine.jsonl"

    @property
    def teacher(self) -> Path:
        """The teacher's revision that the run began with, which alone it may learn from when it is resumed."""
        return self.path / "teacher.json"

    @property
    def qualification(self) -> Path:
        """What the teacher of that revision came to, before the first step."""
        return self.path / "qualification.json"

    @property
    def watchdog(self) -> Path:
        """One line per check of what the student writes, every completion in it; cut back like the metrics."""
        return self.path / "watchdog.jsonl"

    @property
    def record(self) -> Path:
        """Folder of every answer that the teacher gave."""
        return self.path / "record"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, where no other storage keeps them."""
        return self.path / "checkpoints"

    @property
    def not_finite(self) -> Path:
        """Folder of the steps that stopped the run, as their loss or gradient was not finite."""
        return self.path / "not_finite"

    @property
    def adapter(self) -> Path:
        """The finished student, in PEFT's own format."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The finished student as a whole model, where every weight learnt."""
        return self.path / "model"

    def student(self, is_whole: bool) -> Path:
        """The finished student, as one of the two."""
        return self.model if is_whole else self.adapter

    @property
    def summary(self) -> Path:
        """The finished run in a few numbers."""
        return self.path / "summary.json"

    @property
    def stop(self) -> Path:
        """Asks the run to write a checkpoint and end: `touch` does; the next start removes it."""
        return self.path / "stop"

    @property
    def lock(self) -> Path:
        """Held by the one group of workers that writes here."""
        return self.path / ".lock"
