"""Settings of the demos. The runs and the served models are the ones that a user would write by hand."""

from pathlib import Path

from pydantic import Field

from common.settings import Settings, UserPath
from common.world.settings import WorldSettings
from teacher_server.settings import EngineSettings, ReplicaSettings


class DemoSettings(Settings):
    """The whole experiment on the generated tool world."""

    runs: UserPath = Path("runs")
    """Folder in which the demo makes a folder of its own."""
    world: WorldSettings = WorldSettings()
    """The generated tool world."""
    expert: UserPath
    """YAML of the expert teacher's training."""
    kd: UserPath
    """YAML of the live distillation."""
    ft: UserPath
    """YAML of the fine-tuning without a teacher."""
    engine: EngineSettings
    """How teacher and students run."""
    replicas: ReplicaSettings
    """Where teacher and students stand."""
    evaluation_rows: int = Field(default=60, ge=1)
    """Rows judged in each group."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest completion that is judged."""


class SmolLM2DemoSettings(Settings):
    """A real pretrained model on the generated world."""

    runs: UserPath = Path("runs")
    """Folder in which the demo makes a folder of its own."""
    model: UserPath = Path("runs/smollm2")
    """Folder of the pretrained model; fetched where it isn't there yet."""
    world: WorldSettings = WorldSettings()
    """The generated tool world."""
    expert: UserPath
    """YAML of the expert teacher's training."""
    kd: UserPath
    """YAML of the live distillation."""
    engine: EngineSettings
    """How the teacher runs."""
    replicas: ReplicaSettings
    """Where the teacher stands."""


class ToolBenchDemoSettings(Settings):
    """The live pipeline on real ToolBench input."""

    toolbench: UserPath
    """Folder that holds ToolBench/data_example and StableToolBench/solvable_queries."""
    runs: UserPath = Path("runs")
    """Folder in which the demo makes a folder of its own."""
    teacher_base: UserPath
    """YAML of the pretraining of tokenizer and teacher base."""
    student_base: UserPath
    """YAML of the pretraining of the student base."""
    expert: UserPath
    """YAML of the teacher's training."""
    kd: UserPath
    """YAML of the live distillation."""
    engine: EngineSettings
    """How the teacher runs."""
    replicas: ReplicaSettings
    """Where the teacher stands."""
