"""Leakage: each split's own rule refuses what it should, by name, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.toolbench.convert import convert
from common.toolbench.rows import PromptRow, Turn, read_rows, write_rows
from common.toolbench.system_prompt import build_system_prompt
from eval.row_sources import read_sources
from eval.splits import SPLITS, Split, TrainedOn, check_split, rules_of, trained_on

CATEGORIES = {"jam": "Food", "ham": "Food", "sun": "Sky", "moon": "Sky"}


def api(tool: str) -> dict[str, object]:
    return {
        "category_name": CATEGORIES.get(tool, "?"),
        "tool_name": tool,
        "api_name": "get",
        "api_description": "",
        "required_parameters": [],
        "optional_parameters": [],
    }


def row(query: str, *tools: str) -> PromptRow:
    turns = (Turn("system", build_system_prompt([api(tool) for tool in tools], {})), Turn("user", query))
    return PromptRow(f"row {query}", query, turns, None, query, 1, "")


TRAINED = [row("Which jam?", "jam", "ham")]


@pytest.fixture
def trained() -> TrainedOn:
    found = TrainedOn("runs/kd")
    for each in TRAINED:
        found.add(each)
    return found


def test_each_split_has_its_rule():
    assert {split: rules_of(split) for split in SPLITS} == {
        "G1_instruction": ("query",),
        "G1_tool": ("query", "tool"),
        "G1_category": ("query", "category"),
        "G2_instruction": ("query",),
        "G2_category": ("query", "category"),
        "G3_instruction": ("query",),
        "seen": ("query",),
        "unseen_tool": ("query", "tool"),
        "unseen_category": ("query", "category"),
    }


@pytest.mark.parametrize(
    ("split", "leaking", "named"),
    [
        ("G1_instruction", row("which  JAM?", "sun"), "each query of training: 1 of its 2 rows.*row which"),
        ("seen", row("Which jam?", "sun"), "the query 'Which jam\\?'"),
        ("G1_tool", row("else", "sun", "ham"), "each tool of training.*row else: ham"),
        ("unseen_tool", row("Which jam?", "sun"), "each query"),
        ("G2_category", row("else", "ham"), "each category of training.*row else: Food"),
        ("unseen_category", row("else", "sun", "jam"), "row else: Food"),
    ],
)
def test_what_training_had_is_refused_by_name(trained: TrainedOn, split: Split, leaking: PromptRow, named: str):
    with pytest.raises(UserError, match=f"'it' leaks by the rule of {split}.*{named}"):
        check_split("it", split, [row("new", "moon"), leaking], trained, CATEGORIES)


@pytest.mark.parametrize(
    ("split", "fine"),
    [
        ("G1_instruction", row("else", "jam", "ham")),
        ("G3_instruction", row("Which jam? Now", "jam")),
        ("G1_tool", row("else", "sun")),
        ("G1_category", row("else", "sun", "moon")),
    ],
)
def test_what_a_split_does_not_hold_back_passes(trained: TrainedOn, split: Split, fine: PromptRow):
    check_split("it", split, [fine], trained, CATEGORIES)


def test_finish_is_no_tool_and_offered_tools_count_uncalled(trained: TrainedOn):
    assert trained.tools == {"jam", "ham"}


def test_a_split_by_category_needs_all_categories(trained: TrainedOn):
    with pytest.raises(UserError, match="1 tools have none: odd; give `world`"):
        check_split("it", "G1_category", [row("else", "odd")], trained, CATEGORIES)
    check_split("it", "G1_tool", [row("else", "odd")], trained, {})


def test_training_data_is_read_from_the_run_folder(tmp_path: Path):
    write_rows(tmp_path / "rows", [*TRAINED, replace(TRAINED[0], id="2")])
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"train": str(tmp_path / "rows")}, "seed": 1}))
    found = trained_on(run)
    assert (found.queries, found.tools) == ({"which jam?"}, {"jam", "ham"})
    assert str(tmp_path / "rows") in found.where


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, r"can't read .*config\.yaml"),
        ("seed: 1", r"names no data\.train"),
        (": : {", r"names no data\.train"),
        ("data: {train: nowhere/rows}", "was trained on nowhere/rows, which isn't here"),
    ],
)
def test_a_run_that_does_not_say_is_refused(tmp_path: Path, config: str | None, says: str):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(UserError, match=says):
        trained_on(tmp_path)


@pytest.mark.parametrize(
    ("split", "trained_on_split", "leak"),
    [
        ("G1_category", "G1_tool", None),
        ("G1_category", "G1_instruction", "27 of its 153 rows.*Video_Images"),
        ("G1_tool", "G1_instruction", None),
        ("G1_tool", "G2_instruction", "19 of its 158 rows.*comfyfood"),
        ("G2_instruction", "G1_tool", None),
        ("G3_instruction", "G3_instruction", "61 of its 61 rows"),
    ],
)
def test_real_splits_of_toolbench(
    shared_data: Path, tmp_path: Path, split: Split, trained_on_split: str, leak: str | None
):
    """As if a model had been trained on the queries of another split's test."""
    folder = shared_data / "StableToolBench/solvable_queries/test_instruction"
    for name in {split, trained_on_split}:
        convert(folder / f"{name}.json", tmp_path / name, skip_bad=True)
    trained, categories = TrainedOn("it"), read_sources(None, folder).categories
    for each in read_rows(tmp_path / trained_on_split):
        trained.add(each)
    rows = list(read_rows(tmp_path / split))
    if leak is None:
        check_split(split, split, rows, trained, categories)
    else:
        with pytest.raises(UserError, match=leak):
            check_split(split, split, rows, trained, categories)
