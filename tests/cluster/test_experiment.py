"""The experiment by its own code on real Ray and vLLM, small: the gate ends it, and it goes on where it stopped."""

import json
from pathlib import Path

import pytest

from cluster.experiment import run
from cluster.experiment.settings import ExperimentSettings
from common.settings import load
from eval.compare.manifest import Manifest, read_manifest
from tests.serving import ROOT

pytestmark = [pytest.mark.experiment, pytest.mark.timeout(1800)]
ARMS, SPLITS, TASKS = ("A", "B", "D"), ("seen", "unseen_tool"), 4


def short(name: str, folder: Path, steps: int) -> Path:
    """A shipped training, of so many steps."""
    text = (ROOT / "student_trainer/configs" / f"experiment-{name}.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("max_steps", "batch_size"))]
    (folder / f"{name}.yaml").write_text("\n".join([*kept, f"max_steps: {steps}", "batch_size: 4"]) + "\n")
    return folder / f"{name}.yaml"


def settings(folder: Path) -> ExperimentSettings:
    overrides = {
        "runs": folder,
        "expert": short("expert", folder, 3),
        "student": short("student", folder, 2),
        "arms": list(ARMS),
        "seeds": [0],
        "world.train_tasks": 40,
        "world.evaluation_tasks": 10,
        "evaluation": {"splits": list(SPLITS), "rows": 3, "tasks": TASKS, "steps": 2, "max_new_tokens": 16},
    }
    arguments = [part for key, value in overrides.items() for part in (f"--{key}", json.dumps(value, default=str))]
    return load(ExperimentSettings, ROOT / "cluster/configs/experiment-embedded.yaml", arguments)


def states(manifest: Manifest) -> dict[str, str]:
    return {cell.name: cell.status for cell in manifest.cells}


def test_a_failed_gate_ends_it_and_once_passed_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small = settings(tmp_path)
    # Three steps make no expert, nor one that ends what it writes.
    student = small.student.read_text().replace(
        "max_new_tokens: 128\nloss", "max_new_tokens: 16\n  keep_length_cut: true\nloss"
    )
    small.student.write_text(student + "allow_unqualified_teacher: true\n")
    assert run.run_experiment(small) == 1
    manifest = read_manifest(small.folder / "experiment.json")
    begun = {"expert": "done", "base": "done", "student": "done", "A-s0": "done"}
    assert states(manifest) == begun | {"B-s0": "not_run", "D-s0": "not_run"}
    assert any(not check.passed for check in manifest.gate)
    report = (small.folder / "report/report.html").read_text()
    assert "the expert leads A with unseen tools" in report
    trained = (small.folder / "runs/expert/summary.json").stat().st_mtime_ns

    monkeypatch.setattr(run, "gate", lambda workspace: [])
    assert run.run_experiment(small) == 0
    manifest = read_manifest(small.folder / "experiment.json")
    assert set(states(manifest).values()) == {"done"}
    assert (small.folder / "runs/expert/summary.json").stat().st_mtime_ns == trained
    for cell in manifest.cells:
        lines = (small.folder / cell.episodes[""] / "episodes.jsonl").read_text().splitlines()
        assert len(lines) == TASKS * len(SPLITS)
    answers = (small.folder / "runs/B-s0/config.yaml").read_text()
    assert "record_folder" in answers
    assert list((small.folder / "runs/D-s0/record").iterdir())
    assert "KD on the expert" in (small.folder / "report/report.md").read_text()
