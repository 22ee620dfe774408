"""An experiment's folder: kept, found again, and not mixed with another's."""

from pathlib import Path

import pytest

from cluster.experiment.settings import ExperimentSettings
from cluster.experiment.workspace import open_workspace
from common.errors import UserError
from common.settings import load
from eval.compare.manifest import GateCheck

CONFIG = Path(__file__).resolve().parents[4] / "cluster/configs/experiment-embedded.yaml"


def settings(runs: Path, *overrides: str) -> ExperimentSettings:
    return load(ExperimentSettings, CONFIG, ["--runs", str(runs), *overrides])


def test_what_was_written_down_is_found_again(tmp_path: Path):
    begun = open_workspace(settings(tmp_path))
    begun.update("D-s1", status="failed", reason="no teacher")
    begun.set_gate([GateCheck(check="a", seed=0, value=None, expected=">= 1", passed=False)])
    again = open_workspace(settings(tmp_path))
    assert (again.cell("D-s1").status, again.cell("D-s1").reason) == ("failed", "no teacher")
    assert again.manifest == begun.manifest
    assert again.token_file.read_text() == begun.token_file.read_text()
    assert again.token_file.stat().st_mode & 0o077 == 0


def test_it_goes_on_from_another_place(tmp_path: Path):
    open_workspace(settings(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    open_workspace(settings(tmp_path / "b"))


@pytest.mark.parametrize("changed", [["--seeds", "[0]"], ["--world.seed", "3"], ["--evaluation.tasks", "9"]])
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: list[str]):
    open_workspace(settings(tmp_path))
    with pytest.raises(UserError, match=rf"other settings \({changed[0][2:].partition('.')[0]}\)"):
        open_workspace(settings(tmp_path, *changed))
