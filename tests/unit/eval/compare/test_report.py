"""The report says what the folders hold, whichever way it turned out."""

import shutil
from pathlib import Path

import pytest

from common.agents.environments.tool_world import read_tasks
from common.errors import UserError
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.__main__ import main
from eval.compare.document import Document, Table
from eval.compare.inputs import read_experiment
from eval.compare.report import document_of
from tests.unit.eval.compare.experiments import (
    TASKS,
    row,
    scored,
    trajectory,
    write_cell,
    write_experiment,
    write_manifest,
    write_rollout,
    write_run,
    write_scores,
)

PLOTS = ["form_by_split", "success", "loss", "kl", "mass", "entropy", "waiting"]


def said(document: Document) -> str:
    """All texts of a report, a line for each paragraph and row."""
    lines = []
    for section in document.sections:
        lines.append(section.title)
        for block in section.blocks:
            if isinstance(block, Table):
                lines += [" | ".join(cell.text for cell in row) for row in block.rows]
            else:
                lines.append(getattr(block, "text", getattr(block, "caption", getattr(block, "title", ""))))
    return "\n".join(lines)


def report_of(root: Path) -> str:
    return said(document_of(read_experiment([root])))


def test_an_arm_that_is_better_on_unseen_tools(tmp_path: Path):
    text = report_of(write_experiment(tmp_path))
    assert "task_success on unseen_tool, D against A: D is better than A (+60.0 points" in text
    assert "The gate held: 1 of 1 checks passed." in text
    assert "D | 2 of 2 | 40 of 40 | 90.0% | [" in text
    assert "A | FT on recorded traces | 2 of 2 | 2 | 0.300 [0.300, 0.300] | not measured | 90.0% [" in text
    assert "] | 1.35 | 0.480 | 0.100 | 0.150\n" in text


def test_runs_are_told_by_their_curves_and_their_cost(tmp_path: Path):
    document = document_of(read_experiment([write_experiment(tmp_path)]))
    text = said(document)
    assert [plot.name for plot in document.plots] == PLOTS
    assert "Form of completions that the student wrote for held-out prompts: no run measured it." in text
    assert "D-s1 | 2.500 | 0.500 | 1.250 | 0.250 | – | – | – | –" in text
    assert "4 of 4 cells say what they took: 400 s together." in text
    assert "D-s1 | 100 | 60.0 | 30 | 480 | 3 | 167 | 25% | 0.0200 | teacher-bound: trainers waited 25%" in text


def test_the_form_over_steps_is_what_the_watchdog_measured(tmp_path: Path):
    run = write_run(tmp_path / "kd")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"progress/step": 20, "watchdog/valid": 0.9, "watchdog/raw_json": 0.1}\n')
    captions = {plot.name: plot.caption for plot in document_of(read_experiment([run])).plots}
    assert captions["form"].endswith("for held-out prompts (not measured: unknown APIs, repetition)")


def test_an_arm_that_is_worse(tmp_path: Path):
    assert "D is worse than A (-60.0 points" in report_of(write_experiment(tmp_path, d_solves=6, a_solves=18))


def test_a_null_result_is_said_as_one(tmp_path: Path):
    solved = [task % 2 == 0 for task in range(160)]
    cells = [write_cell(tmp_path, name, solved, 0.3, tools=160) for name in ("A-s1", "D-s1")]
    text = report_of(write_manifest(tmp_path, cells))
    assert "no difference: the interval lies within ±5 points (+0.0 points" in text


def test_few_tools_on_which_nothing_differs_are_no_null_result(tmp_path: Path):
    text = report_of(write_experiment(tmp_path, d_solves=10, a_solves=10))
    assert "not decided: the interval holds 0 and more than ±5 points (+0.0 points" in text


def test_a_single_tool_gives_no_interval(tmp_path: Path):
    cells = [write_cell(tmp_path, name, [True, False], 0.3, tools=1) for name in ("A-s1", "D-s1")]
    text = report_of(write_manifest(tmp_path, cells))
    assert "not known: all is of one tool, which gives no interval (+0.0 points, 95 % interval –, 2 judged)" in text


def test_what_the_interval_leaves_open_is_not_decided(tmp_path: Path):
    cells = [
        write_cell(tmp_path, "A-s1", [task % 3 == 0 for task in range(TASKS)], 0.3),
        write_cell(tmp_path, "D-s1", [task % 4 == 0 for task in range(TASKS)], 0.3),
    ]
    text = report_of(write_manifest(tmp_path, cells))
    assert "not decided: the interval holds 0 and more than ±5 points" in text


def test_a_failed_gate_stands_beside_the_comparison(tmp_path: Path):
    check = {"check": "the expert leads A", "seed": 2, "value": 0.04, "expected": ">= 0.15", "passed": False}
    text = report_of(write_experiment(tmp_path, gate=[check]))
    assert text.count("The gate failed in 1 of 1 checks: read no comparison below as an answer.") == 2
    assert "the expert leads A | 2 | 0.040 | >= 0.15 | NO" in text


def test_failed_and_missing_cells_are_named_wherever_they_are_missing(tmp_path: Path):
    cells = [write_cell(tmp_path, "A-s1", [True, False] * 8, 0.3)]
    cells.append({"name": "D-s1", "arm": "D", "seed": 1, "status": "failed", "reason": "the loss was not finite"})
    cells.append({"name": "D-s2", "arm": "D", "seed": 2, "status": "not_run", "reason": "D-s1 failed"})
    text = report_of(write_manifest(tmp_path, cells))
    assert "2 of 3 cells are missing from all that follows: D-s1, D-s2." in text
    assert "D-s1 | D | 1 | failed: the loss was not finite | " in text
    assert "D against A: not measured: the two have nothing in common that was judged." in text
    assert "Cells of D that it lacks: D-s1 (failed: the loss was not finite); D-s2 (not run: D-s1 failed)." in text
    assert "D | KD on written ones | 0 of 2 | not measured" in text


def test_what_a_cell_that_is_done_lacks_is_said(tmp_path: Path):
    write_experiment(tmp_path)
    (tmp_path / "scores/A-s1.json").write_text("{")
    write_scores(tmp_path / "scores/A-s2.json", [*scored("x", "s", 1, 1), *scored("y", "s", 1, 1)])
    (tmp_path / "scores/D-s2.rows.jsonl").unlink()
    shutil.rmtree(tmp_path / "runs/D-s1")
    (tmp_path / "runs/D-s2/summary.json").unlink()
    with (tmp_path / "runs/D-s2/metrics.jsonl").open("a") as file:
        file.write("not json\n")
    with (tmp_path / "episodes/D-s1/unseen_tool/episodes.jsonl").open("a") as file:
        file.write('{"episode": 1}\n')
    text = report_of(tmp_path)
    assert "/scores/A-s1.json is no evaluation of this version" in text
    assert "A-s2 | A | 2 | done | A-s2.json has no score of the model A-s2" in text
    assert "D-s1 | D | 1 | done | there is no run folder D-s1; episodes: line 21 of " in text
    assert "D-s2 | D | 2 | done | 1 lines of its metrics can't be read; it has no summary: it isn't finished; " in text
    assert "/scores/D-s2.rows.jsonl, which `python -m eval score` writes beside D-s2.json; score again" in text


def test_secondary_comparisons_are_corrected_together(tmp_path: Path):
    wide = {"measure": "task_success", "split": "unseen_tool", "arms": ["D", "A"]}
    text = report_of(write_experiment(tmp_path, secondary=[wide, wide | {"split": "seen"}, wide | {"measure": "x"}]))
    assert "D − A | task_success | unseen_tool | 40 | +60.0 points | [" in text
    assert "D − A | task_success | seen | 0 | – | – | – | – | not measured" in text
    assert "D − A | x | unseen_tool | 0 | – | – | – | – | not measured" in text


def test_scored_rows_are_compared_too_and_less_loss_is_better(tmp_path: Path):
    cells = [write_cell(tmp_path, "A-s1", [True], 0.3), write_cell(tmp_path, "D-s1", [True], 0.3)]
    write_scores(tmp_path / "scores/D-s1.json", [row("D-s1", "unseen_tool", n, 0.2 + n / 1e3, True) for n in range(20)])
    loss = {"measure": "loss", "split": "unseen_tool", "arms": ["D", "A"], "margin": 0.01}
    text = report_of(write_manifest(tmp_path, cells, primary=loss, secondary=[loss | {"measure": "valid"}]))
    assert "loss on unseen_tool, D against A: D is better than A (-0.090 nats, 95 % interval [-0.09" in text
    assert "D − A | valid | unseen_tool | 20 | +10.0 points | [" in text


def test_scores_without_their_rows_are_shown_and_not_compared(tmp_path: Path):
    write_experiment(tmp_path, primary={"measure": "valid", "split": "unseen_tool", "arms": ["D", "A"]})
    for file in (tmp_path / "scores").glob("D-*.rows.jsonl"):
        file.unlink()
    text = report_of(tmp_path)
    assert "valid on unseen_tool, D against A: not measured" in text
    assert "D | KD on written ones | 2 of 2 | 2 | 0.300 | not measured | 90.0% | 1.35" in text


def test_runs_rollouts_and_scores_without_a_manifest(tmp_path: Path):
    runs = [write_run(tmp_path / "runs" / name) for name in ("ft", "kd")]
    rollouts = [
        write_rollout(tmp_path / "episodes" / name, [trajectory(task, task < solves) for task in range(8)], set_aside=3)
        for name, solves in (("ft", 2), ("kd", 6))
    ]
    names = ("ft", "kd", "base")
    write_scores(tmp_path / "scores.json", [each for name in names for each in scored(name, "seen", 0.5, 16)])
    document = document_of(read_experiment([*runs, *rollouts, tmp_path / "scores.json"]))
    text = said(document)
    assert "ft | ft | 0 | done | \nkd | kd | 0 | done | \nbase | base | 0 | done | " in text
    assert "No comparison was written down before the runs" in text
    assert "kd | 1 of 1 | 8 of 8 | 75.0% | " in text
    assert "base | the cell base | 1 of 1 | 1 | 0.500 [0.500, 0.500] | not measured | 80.0% [" in text
    assert "6 episodes that infrastructure broke count nowhere." in text
    assert [plot.name for plot in document.plots] == PLOTS


def test_episodes_that_nobody_can_judge_count_in_no_share(tmp_path: Path):
    told = [trajectory(0, True), trajectory(1, None), trajectory(2, None, stop="max_steps"), trajectory(3, False)]
    text = said(document_of(read_experiment([write_rollout(tmp_path / "kd", told)])))
    assert "kd | 1 of 1 | 3 of 4 | 33.3% | [" in text


def test_what_a_solved_task_takes_counts_failures_too(tmp_path: Path):
    told = [trajectory(task, task == 0) for task in range(4)]
    text = said(document_of(read_experiment([write_rollout(tmp_path / "kd", told)])))
    assert " | 100% | 4, 0, 0 | 1.0 | 80 | 8.0 | 0.0040\n" in text


def test_success_is_told_by_how_many_steps_tasks_need(tmp_path: Path):
    settings = WorldSettings(train_tasks=1, query_tasks=0, evaluation_tasks=4, corpus_documents=0)
    build_world(settings, tmp_path / "world")
    tasks = read_tasks(tmp_path / "world", "unseen_tool")
    told = [trajectory(number, number == 0) for number in range(len(tasks))]
    environment = {"kind": "world", "folder": str(tmp_path / "world")}
    write_rollout(tmp_path / "kd", told, environment=environment)
    text = said(document_of(read_experiment([tmp_path / "kd"])))
    needed = len(tasks[0].data["solution"])
    same = [task for task in tasks if len(task.data["solution"]) == needed]
    assert f"unseen_tool | kd | {needed} | {len(same)} | {1 / len(same):.1%}" in text


def test_the_command_writes_html_markdown_and_figures_and_prints_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = write_experiment(tmp_path / "experiment")
    assert main(["compare", str(root)]) == 0
    assert capsys.readouterr().out == f"{root}/report.html\n"
    names = {path.name for path in (root / "figures").iterdir()}
    assert names == {f"{name}.png" for name in PLOTS}
    assert all((root / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert main(["compare", str(root), "--output", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere/report.md").read_text() == (root / "report.md").read_text()


def test_what_is_nothing_to_report_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UserError, match=r"there is nothing at .*nowhere"):
        read_experiment([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="neither an experiment"):
        read_experiment([tmp_path])
    write_run(tmp_path / "a" / "kd")
    write_run(tmp_path / "b" / "kd")
    with pytest.raises(UserError, match=r"got run of kd twice, by .*b/kd too"):
        read_experiment([tmp_path / "a/kd", tmp_path / "b/kd"])
    write_manifest(tmp_path, [])
    with pytest.raises(UserError, match="holds an experiment; compare it by itself"):
        read_experiment([tmp_path, tmp_path])
