"""Every YAML file that ships parses with the settings model it was written for."""

from pathlib import Path

import pytest
import yaml

from cluster.demos.settings import DemoSettings, SmolLM2DemoSettings, ToolBenchDemoSettings
from cluster.experiment.settings import ExperimentSettings
from cluster.local.settings import ClusterSettings
from common.errors import UserError
from common.settings import Settings, load, validate
from eval.qualification.settings import QualifySettings
from eval.rollouts.settings import RolloutSettings
from eval.settings import EvalSettings
from eval.tooleval.settings import ToolEvalSettings
from student_trainer.pretraining.settings import PretrainSettings
from student_trainer.settings import TrainSettings
from teacher_server.settings import TeacherServerSettings

ROOT = Path(__file__).resolve().parents[2]
MODELS: dict[str, tuple[type[Settings], ...]] = {
    "student_trainer": (TrainSettings, PretrainSettings),
    "eval": (EvalSettings, QualifySettings, RolloutSettings, ToolEvalSettings),
    "cluster": (ClusterSettings, DemoSettings, ExperimentSettings, SmolLM2DemoSettings, ToolBenchDemoSettings),
}
GIVEN_BY_THE_USER = {"demo-toolbench": ["--toolbench", "ToolBench"]}


def configs(folder: str) -> list[Path]:
    found = sorted((ROOT / folder / "configs").glob("*.yaml"))
    assert found, f"{folder} ships no configs"
    return found


@pytest.mark.parametrize("path", [path for folder in MODELS for path in configs(folder)], ids=lambda path: path.stem)
def test_a_config_parses_with_one_model_of_its_folder(path: Path):
    problems = []
    for model in MODELS[path.relative_to(ROOT).parts[0]]:
        try:
            load(model, path, GIVEN_BY_THE_USER.get(path.stem, []))
            return
        except UserError as error:
            problems.append(f"{model.__name__}: {error}")
    pytest.fail("\n".join(problems))


@pytest.mark.parametrize("path", configs("teacher_server"), ids=lambda path: path.stem)
def test_a_serve_config_gives_every_application_valid_arguments(path: Path):
    applications = yaml.safe_load(path.read_text("utf-8"))["applications"]
    assert applications
    for application in applications:
        assert application["import_path"] == "teacher_server.serve.app:build"
        validate(TeacherServerSettings, application["args"], f"{path.name}: args of {application['name']}")
