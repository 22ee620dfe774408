"""The configurations of the experiment say what the experiment is."""

from pathlib import Path

from common import settings
from student_trainer.settings import TrainSettings

CONFIGS = Path(__file__).parents[3] / "student_trainer" / "configs"


def test_the_three_configurations_of_the_experiment():
    teacher, ft, kd = (
        settings.load(TrainSettings, CONFIGS / f"llama-3.1-{name}.yaml")
        for name in ("70b-teacher-qlora", "8b-ft", "8b-kd")
    )
    assert (teacher.mode, ft.mode, kd.mode) == ("sft", "sft", "kd")
    assert teacher.student.quantization == "nf4"
    assert teacher.optimizer.name == "paged_adamw_8bit"
    assert (kd.loss.temperature, kd.loss.alpha) == (1.0, 0.5)
    assert ft.model_copy(update={"run_folder": kd.run_folder}).student == kd.student
    assert ft.optimizer == kd.optimizer
    assert {(each.student.lora.rank, each.student.lora.alpha) for each in (teacher, ft, kd)} == {(16, 32)}
    assert {each.data.max_length for each in (teacher, ft, kd)} == {8192}
