"""The checks that close the demos: they hold when they should, and say NO when they shouldn't."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster.demos.live_checks import ids_check, kl_checks, kl_of
from cluster.demos.toolbench import summary_table
from cluster.demos.verdict import DISTILLED, FINE_TUNED, TEACHER, UNTRAINED, findings
from common.agents.types import Trajectory
from common.errors import UserError
from common.toolbench.rows import PromptRow, Turn, write_rows
from eval.results import Figure, Judgement

LEARNT = {
    (UNTRAINED, "seen"): (4.0, 0.0),
    (FINE_TUNED, "seen"): (0.5, 0.9),
    (DISTILLED, "seen"): (0.4, 0.9),
    (TEACHER, "seen"): (0.3, 0.95),
    (UNTRAINED, "unseen_tool"): (4.0, 0.0),
    (FINE_TUNED, "unseen_tool"): (0.9, 0.6),
    (DISTILLED, "unseen_tool"): (0.7, 0.7),
    (TEACHER, "unseen_tool"): (0.5, 0.8),
}


def judged(figures: dict[tuple[str, str], tuple[float, float]]) -> list[Judgement]:
    return [
        Judgement(
            model=model,
            group=group,
            rows=10,
            tokens=100,
            perplexity=1.0,
            written_tokens=10.0,
            measures={"loss": Figure(value=loss), "valid": Figure(value=valid)},
            parts={},
            steps={},
            left_out={},
        )
        for (model, group), (loss, valid) in figures.items()
    ]


def episodes(fine_tuned: int = 5, distilled: int = 6) -> dict[str, list[Trajectory]]:
    """Ten episodes of each agent on unseen tools, of which so many are solved."""

    def of(solved: int) -> list[Trajectory]:
        blank = Trajectory("", "", "", "unseen_tool", (), (), "finished", None, None, "student", 0, 0, 0, 0)
        return [replace(blank, solved=number < solved) for number in range(10)]

    return {FINE_TUNED: of(fine_tuned), DISTILLED: of(distilled), TEACHER: of(9)}


def test_models_that_differ_as_they_should_pass_every_finding() -> None:
    assert all(finding.holds for finding in findings(judged(LEARNT), episodes()))


def test_a_student_that_solves_no_more_tasks_is_said() -> None:
    [failed] = [finding.text for finding in findings(judged(LEARNT), episodes(6, 6)) if not finding.holds]
    assert "solves more tasks: 60% (KD) against 60% (FT), 90% (teacher)" in failed


@pytest.mark.parametrize(
    ("model", "group", "figures", "words"),
    [
        (UNTRAINED, "seen", (4.0, 0.5), "untrained student can't"),
        (FINE_TUNED, "seen", (3.9, 0.9), "FT student learnt"),
        (DISTILLED, "seen", (0.5, 0.1), "KD student learnt"),
        (TEACHER, "seen", (0.6, 0.9), "teacher knows more"),
        (DISTILLED, "unseen_tool", (1.0, 0.7), "surprise it less"),
        (DISTILLED, "unseen_tool", (0.7, 0.5), "more valid calls"),
    ],
)
def test_a_model_that_does_not_is_said(model: str, group: str, figures: tuple[float, float], words: str) -> None:
    changed = judged(LEARNT | {(model, group): figures})
    failed = [finding.text for finding in findings(changed, episodes()) if not finding.holds]
    assert len(failed) == 1
    assert words in failed[0]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two epochs of two prompts; one of them once quarantined."""
    write_rows(tmp_path / "queries", [PromptRow(id, "q", (Turn("user", "q"),), None, id, 1, "") for id in ("a", "b")])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"epochs": 2}))
    write_ledger(folder / "used.jsonl", ("a", 0), ("b", 0), ("a", 1))
    write_ledger(folder / "quarantine.jsonl", ("b", 1))
    return folder


def write_ledger(file: Path, *entries: tuple[str, int]) -> None:
    file.write_text("".join(json.dumps({"id": id, "epoch": epoch}) + "\n" for id, epoch in entries))


def test_every_prompt_once_per_epoch(run: Path) -> None:
    check = ids_check(run.parent / "queries", run)
    assert check.holds
    assert "3 used + 1 set aside" in check.text


@pytest.mark.parametrize("used", [[("a", 0), ("b", 0)], [("a", 0), ("b", 0), ("a", 1), ("a", 1)], [("a", 0)] * 3])
def test_a_prompt_lost_or_used_twice_is_found(run: Path, used: list[tuple[str, int]]) -> None:
    write_ledger(run / "used.jsonl", *used)
    assert not ids_check(run.parent / "queries", run).holds


@pytest.mark.parametrize(("live", "control", "holds"), [(0.9, 1.5, [True, True]), (1.1, 0.9, [False, False])])
def test_kl_must_halve_live_and_must_not_in_the_control(
    tmp_path: Path, live: float, control: float, holds: list[bool]
) -> None:
    for name, after in (("live", live), ("control", control)):
        (tmp_path / name).mkdir()
        summary = {"validation_before": {"kl": 2.0}, "validation_after": {"kl": after}}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    assert [check.holds for check in kl_checks(tmp_path / "live", tmp_path / "control")] == holds


@pytest.mark.parametrize("missing", ["validation_before", "validation_after"])
def test_a_run_without_a_held_out_slice_is_said_in_one_line(tmp_path: Path, missing: str) -> None:
    summary = {"validation_before": {"kl": 2.0}, "validation_after": {"kl": 1.0}} | {missing: None}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="expected a held-out slice"):
        kl_of(tmp_path)


def test_a_run_that_used_no_prompt_still_has_a_table(tmp_path: Path) -> None:
    numbers = ("used", "quarantined", "dropped_by_length", "positions", "tokens_per_s", "bytes_per_position")
    (tmp_path / "summary.json").write_text(json.dumps(dict.fromkeys((*numbers, "waited_fraction"), 0)))
    assert summary_table(tmp_path).row_count == 6
