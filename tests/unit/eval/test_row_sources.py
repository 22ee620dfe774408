"""What a world and query records tell of rows: categories of tools, and floors of recorded steps."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.toolbench.system_prompt import offered_functions
from common.toolbench.tools import tools_of
from common.world.build import build_world
from common.world.settings import Difficulty, WorldSettings
from eval.row_sources import RowSources, read_sources
from eval.splits import Split, TrainedOn, check_split


@pytest.fixture(scope="module", params=["named", "full"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    difficulty: Difficulty = request.param
    folder = tmp_path_factory.mktemp("world")
    sizes = {"train_tasks": 20, "query_tasks": 0, "evaluation_tasks": 6, "corpus_documents": 0}
    build_world(WorldSettings.model_validate(sizes | {"difficulty": difficulty}), folder)
    for split in ("train", "seen", "unseen_tool", "unseen_category"):
        convert(folder / f"{split}.json", folder / "rows" / split)
    return folder


def test_every_row_of_a_world_has_its_floor_and_its_tools_a_category(world: Path):
    sources = read_sources(world, None)
    for split in ("train", "seen", "unseen_tool", "unseen_category"):
        for row in read_rows(world / "rows" / split):
            assert sources.floors[row.query, row.completion or ""] > 0.9
            assert set(tools_of(offered_functions(row.turns[0].content))) <= set(sources.categories)


def test_the_worlds_own_splits_keep_their_rules_and_training_rows_break_them(world: Path):
    categories, trained = read_sources(world, None).categories, TrainedOn("its training")
    for row in read_rows(world / "rows/train"):
        trained.add(row)
    splits: tuple[Split, ...] = ("seen", "unseen_tool", "unseen_category")
    for split in splits:
        check_split(split, split, read_rows(world / "rows" / split), trained, categories)
        with pytest.raises(UserError, match="leaks by the rule of"):
            check_split(split, split, read_rows(world / "rows/train"), trained, categories)
    with pytest.raises(UserError, match="each category of training"):
        check_split("x", "unseen_category", read_rows(world / "rows/unseen_tool"), trained, categories)
    with pytest.raises(UserError, match="each tool of training"):
        check_split("x", "unseen_tool", read_rows(world / "rows/seen"), trained, categories)


def test_query_records_name_categories(tmp_path: Path):
    apis = [{"category_name": "Food", "tool_name": "Jam Shop", "api_name": "x"}, {"tool_name": "bare", "api_name": "y"}]
    (tmp_path / "q.json").write_text(json.dumps([{"query": "q", "query_id": 1, "api_list": apis}]))
    assert read_sources(None, tmp_path) == RowSources({"jam_shop": "Food"})
    assert read_sources(None, None) == RowSources()


def test_real_query_records_name_the_categories_of_their_tools(shared_data: Path):
    found = read_sources(None, shared_data / "ToolBench/data_example/instruction/G1_query.json").categories
    assert found
    assert all(category.strip() for category in found.values())


def test_what_names_no_category_is_refused(tmp_path: Path):
    (tmp_path / "t.json").write_text(json.dumps([{"id": "Step 1: q", "conversations": []}]))
    with pytest.raises(UserError, match=r"got toolllama at .*expected ToolBench's query records"):
        read_sources(None, tmp_path / "t.json")
