"""The command line: quick help, absolute paths, one clear line for each mistake of the user."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from student_trainer.__main__ import main
from student_trainer.commands.train import with_absolute_paths
from student_trainer.ray_train.launch import check_resources, launch, meeting_s
from student_trainer.settings import WorkerSettings
from tests.unit.student_trainer.stand_in import make_settings

HEAVY = {"torch", "ray", "vllm", "transformers"}


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]):
    program = (
        "import sys\nfrom student_trainer.__main__ import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "train" in result.stdout
    assert result.stderr.strip() == "[]"


def test_an_unknown_command_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="expected one of: train"):
        main(["trian"])


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (None, [], "can't read the settings file"),
        ("run_folder: r\nmode: sft\ndata: {train: d}\nstudent: {model: m}\nlerning_rate: 3\n", [], "'lerning_rate'"),
        ("run_folder: r\nmode: sft\ndata: {train: d}\nstudent: {model: m}\n", ["--batch_size", "0"], "batch_size"),
        ("run_folder: r\ndata: {train: d}\nstudent: {model: m}\n", [], "mode kd needs the section teacher"),
        ("run_folder: r\nmode: sft\ndata: {train: nowhere}\nstudent: {model: m}\n", [], "nowhere"),
        (
            "run_folder: r\nmode: sft\ndata: {train: d}\nstudent: {model: m}\n",
            ["--completion.temperature", "3"],
            "or equal to 2",
        ),
        ("run_folder: r\ndata: {train: d}\nteacher: {top_k: 5000}\n", [], "or equal to 4096"),
        (
            "run_folder: r\ndata: {train: d}\nteacher: {url: u, model: m, window: 300}\n",
            [],
            "window 300 above max_window 256; raise max_window",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str | None, overrides: list[str], message: str):
    config = tmp_path / "config.yaml"
    if text:
        config.write_text(text)
    with pytest.raises(UserError, match=message):
        main(["train", str(config), *overrides])


def test_missing_validation_rows_are_named_before_anything_is_loaded(tmp_path: Path):
    data = {"train": tmp_path / "data", "validation": tmp_path / "nowhere"}
    with pytest.raises(UserError, match="nowhere"):
        launch(make_settings(tmp_path, data=data))
    assert not (tmp_path / "run").exists()


def test_a_dead_ray_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(**options: Any) -> None:
        raise ConnectionError("failed to connect to GCS")

    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=10\.1\.2\.3:6379; start it"):
        launch(make_settings(tmp_path))


def test_workers_wait_longer_for_each_other_than_one_may_wait_for_its_teacher(tmp_path: Path):
    teacher = {"url": "http://a", "model": "teacher", "patience_s": 7200, "timeout_s": 900}
    assert meeting_s(make_settings(tmp_path, teacher=teacher)) > 7200 + 6 * 900
    assert meeting_s(make_settings(tmp_path, mode="sft", teacher=None)) == 1800


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = make_settings(tmp_path, run_folder="runs/one", student={"model": "base"})
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    resolved = with_absolute_paths(settings)
    assert resolved.run_folder == tmp_path / "runs" / "one"
    assert resolved.student.model == str(tmp_path / "base")
    assert resolved.data.train == settings.data.train
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_absolute_paths(make_settings(tmp_path, student={"model": "~/base"})).student == resolved.student
    assert with_absolute_paths(make_settings(tmp_path, student={"model": "org/name"})).student.model == "org/name"


def test_more_than_the_cluster_has_is_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    """Ray itself would wait for ever."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "student_pool": 1.0})
    check_resources(WorkerSettings(count=4, gpus=0))
    with pytest.raises(UserError, match="2 workers need 2 of the resource GPU, the cluster has 0"):
        check_resources(WorkerSettings(count=2, gpus=1))
    with pytest.raises(UserError, match="resource gpu_pool"):
        check_resources(WorkerSettings(gpus=0, pool="gpu_pool"))
