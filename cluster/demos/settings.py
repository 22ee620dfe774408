"""Settings of the demos. The runs and the served models are the ones that a user would write by hand."""

from pathlib import Path

from pydantic import Field

from common.settings import Settings, UserPath
from common.world.settings import WorldSettings
from teacher_server.settings import EngineSettings, ReplicaSettings


class LiveDemoSettings(Settings):
    """What every demo of a live distillation needs."""

    runs: UserPath = Path("runs")
    """Folder in which the demo makes a folder of its own."""
    expert: UserPath
    """YAML of the teacher's training."""
    kd: UserPath
    """YAML of the live distillation."""
    engine: EngineSettings
    """How the served models run."""
    replicas: ReplicaSettings
    """Where the served models stand."""


class DemoSettings(LiveDemoSettings):
    """The whole experiment on the generated tool world."""

    world: WorldSettings = WorldSettings()
    """The generated tool world."""
    ft: UserPath
    """YAML of the fine-tuning without a teacher."""
    evaluation_rows: int = Field(default=60, ge=1)
    """Rows judged in each group."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest completion that is judged, and longest turn of an agent."""
    rollout_tasks: int = Field(default=20, ge=1)
    """Tasks of each split on which the models act."""
    rollout_steps: int = Field(default=6, ge=1)
    """Most steps of an episode."""


class SmolLM2DemoSettings(LiveDemoSettings):
    """A real pretrained model on the generated world."""

    model: UserPath = Path("runs/smollm2")
    """Folder of the pretrained model; fetched where it isn't there yet."""
    world: WorldSettings = WorldSettings()
    """The generated tool world."""


class ToolBenchDemoSettings(LiveDemoSettings):
    """The live pipeline on real ToolBench input."""

    toolbench: UserPath
    """Folder that holds ToolBench/data_example and StableToolBench/solvable_queries."""
    teacher_base: UserPath
    """YAML of the pretraining of tokenizer and teacher base."""
    student_base: UserPath
    """YAML of the pretraining of the student base."""
