"""What an experiment may be, and what its arms differ in."""

from pathlib import Path

import pytest

from cluster.experiment.arms import ARMS, SECONDARY
from cluster.experiment.run import cost_of
from cluster.experiment.settings import ExperimentSettings
from cluster.experiment.training import check, student_settings
from cluster.experiment.workspace import Workspace, new_manifest
from common.errors import UserError
from common.settings import load
from student_trainer.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[4]
CONFIG = ROOT / "cluster/configs/experiment-embedded.yaml"


def settings(tmp_path: Path, *overrides: str) -> ExperimentSettings:
    return load(ExperimentSettings, CONFIG, ["--runs", str(tmp_path), *overrides])


def trainings(tmp_path: Path, *overrides: str) -> dict[str, TrainSettings]:
    found = settings(tmp_path, *overrides)
    return check(found, Workspace(found, new_manifest(found)))


def test_all_arms_of_a_seed_differ_in_nothing_but_what_they_learn_from(tmp_path: Path):
    found = trainings(tmp_path)
    apart = {"run_folder", "mode", "teacher", "completion", "loss", "allow_unqualified_teacher"}
    for seed in (0, 1, 2):
        alike = [found[f"{arm}-s{seed}"].model_dump(exclude=apart) for arm in ARMS]
        assert all(each == alike[0] for each in alike)
        assert (alike[0]["seed"], alike[0]["shuffle_seed"]) == (seed, seed)
    assert len({each.run_folder for each in found.values()}) == 16


def test_each_arm_learns_from_what_its_title_says(tmp_path: Path):
    found = trainings(tmp_path, "--seeds", "[1]")
    a, b, c, d, e = (found[f"{arm}-s1"] for arm in "ABCDE")
    assert (a.mode, a.teacher, a.completion.writer) == ("sft", None, {"dataset": 1.0})
    assert b.teacher
    assert d.teacher
    assert c.teacher
    assert e.teacher
    assert (b.teacher.source, b.loss.alpha, b.completion.writer) == ("record", 0.0, {"teacher": 1.0})
    assert b.teacher.record_folder == d.run_folder / "record"
    assert (c.teacher.model, c.teacher.source, c.completion.writer) == ("expert", "live", {"dataset": 1.0})
    assert (d.teacher.model, d.teacher.source, d.completion.writer) == ("expert", "live", {"teacher": 1.0})
    assert (e.teacher.model, e.allow_unqualified_teacher, d.allow_unqualified_teacher) == ("base", True, False)
    assert d.loss.alpha == c.loss.alpha == e.loss.alpha > 0


def test_the_expert_reads_the_same_traces_as_arm_a(tmp_path: Path):
    found = trainings(tmp_path)
    assert found["expert"].data.train == found["A-s0"].data.train
    assert found["expert"].mode == "sft"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["--arms", "[A, Z]"], "expected A and others of A, B, C, D, E"),
        (["--arms", "[D]"], "expected A and others"),
        (["--arms", "[A, B]"], "add D to arms"),
        (["--seeds", "[]"], "at least 1"),
        (["--name", "../out"], "pattern"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(tmp_path: Path, overrides: list[str], says: str):
    with pytest.raises(UserError, match=says):
        settings(tmp_path, *overrides)


def test_a_setting_that_no_training_takes_is_named_with_its_cell(tmp_path: Path):
    student = tmp_path / "student.yaml"
    student.write_text((ROOT / "student_trainer/configs/experiment-student.yaml").read_text() + "nonsense: 1\n")
    with pytest.raises(UserError, match=r"student.yaml, as A-s0 has it.*nonsense"):
        trainings(tmp_path, "--student", str(student))


def test_comparisons_are_written_down_before_anything_runs(tmp_path: Path):
    manifest = new_manifest(settings(tmp_path, "--arms", "[A, C, D]"))
    assert manifest.primary
    assert (manifest.primary.arms, manifest.primary.split) == (("D", "A"), "unseen_tool")
    assert [each.arms for each in manifest.secondary] == [("C", "A")]
    assert {cell.status for cell in manifest.cells} == {"not_run"}
    assert set().union(*SECONDARY) <= set(ARMS)


def test_the_cost_counts_trainings_rows_and_episodes(tmp_path: Path):
    told = cost_of(settings(tmp_path, "--seeds", "[0]", "--evaluation.tasks", "10", "--evaluation.rows", "5"))
    # The expert has 600 steps of 16 rows, each of five students 100; C, D and E ask; eight models on three splits.
    assert "6 trainings on 17,600 rows in all, 3 of them with a live teacher" in told
    assert "8 models, each on 3 splits: 120 rows scored and written, 240 episodes" in told


def test_the_url_of_the_teacher_is_the_clusters(tmp_path: Path):
    found = settings(tmp_path)
    made = student_settings(Workspace(found, new_manifest(found)), "D", 0, "http://127.0.0.1:9999/teacher")
    assert made.teacher
    assert made.teacher.url == "http://127.0.0.1:9999/teacher"
