"""Settings of an experiment: `python -m cluster experiment CONFIG.yaml`."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from cluster.experiment.arms import ARMS
from common.settings import Settings, UserPath
from common.world.settings import WorldSettings
from teacher_server.settings import EngineSettings, ReplicaSettings


class EvaluationSettings(Settings):
    """What every model is judged on, in each split."""

    splits: list[str] = ["seen", "unseen_tool", "unseen_category"]
    """Splits of the world."""
    rows: int = Field(default=100, ge=1)
    """Recorded steps that are scored and written anew."""
    tasks: int = Field(default=150, ge=1)
    """Tasks on which it acts."""
    steps: int = Field(default=7, ge=1)
    """Most steps of an episode."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest turn."""


class GateSettings(Settings):
    """What must hold before arms are compared: else the comparison answers nothing. All are shares of tasks."""

    rules: float = Field(default=0.2, ge=0, le=1)
    """Most that a rule may solve, on any split, which reads names or copies demonstrations."""
    shuffled: float = Field(default=0.3, ge=0, le=1)
    """Least that the expert must lose where descriptions are shuffled among the functions on offer."""
    seen: tuple[float, float] = (0.4, 0.85)
    """What the baseline, A, must solve with seen tools: at least, at most."""
    gap: float = Field(default=0.1, ge=0, le=1)
    """Least by which A must solve fewer tasks with unseen tools."""
    lead: float = Field(default=0.15, ge=0, le=1)
    """Least by which the expert must lead A on unseen tools, its interval above 0."""
    base: float = Field(default=0.05, ge=0, le=1)
    """Most valid calls that the untuned student may write."""


class ExperimentSettings(Settings):
    """One world, one expert, and a student for each arm and seed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Its folder's name; an experiment that stopped goes on there."""
    question: str
    """What it asks, in a sentence."""
    runs: UserPath = Path("runs/experiments")
    """Where its folder is made."""
    world: WorldSettings
    """The generated tool world."""
    expert: UserPath
    """YAML of the teacher's training; its base, untuned, is the generalist."""
    student: UserPath
    """YAML that all students share, of a live distillation. Arms differ from it in what `arms.py` says, seeds in
    their initial adapter and the order of prompts."""
    arms: list[str] = ["A", "B", "C", "D", "E"]
    """Which arms run; A and D are compared."""
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    """One student of each arm for every seed."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How all are judged."""
    gate: GateSettings = GateSettings()
    """What must hold first."""
    engine: EngineSettings
    """How served models run."""
    replicas: ReplicaSettings
    """Where they stand."""

    @field_validator("arms")
    @classmethod
    def _are_known(cls, arms: list[str]) -> list[str]:
        unknown = [arm for arm in arms if arm not in ARMS]
        if unknown or "A" not in arms:
            raise ValueError(f"got {arms}, expected A and others of {', '.join(ARMS)}")
        return arms

    @model_validator(mode="after")
    def _replayed_runs_are_there(self) -> "ExperimentSettings":
        for arm in self.arms:
            replayed = ARMS[arm].replays
            if replayed and replayed not in self.arms:
                raise ValueError(f"arm {arm} replays what the teacher said to {replayed}: add {replayed} to arms")
        return self

    @property
    def folder(self) -> Path:
        """All that it writes."""
        return self.runs / self.name
