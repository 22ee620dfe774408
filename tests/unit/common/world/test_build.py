"""A world as files: reproducible, in ToolBench's formats, with held-out parts that training never saw."""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from common.errors import UserError
from common.quality.completions import check_completion
from common.toolbench.convert import convert
from common.toolbench.rows import PromptRow, read_rows
from common.toolbench.system_prompt import FORMAT_LINES, offered_functions
from common.world.build import build_world
from common.world.make import make_world
from common.world.named.corpus import documents
from common.world.named.domains import DOMAINS, HELD_OUT_DOMAINS
from common.world.named.tools import build_catalogue
from common.world.settings import CorpusShares, WorldSettings
from common.world.splits import new_tasks

SMALL = WorldSettings(
    seed=3, tools_per_category=2, unseen_tools_per_category=1, train_tasks=40, query_tasks=20, evaluation_tasks=15,
    corpus_documents=100,
)  # fmt: skip
TRACES = ("train", "seen", "unseen_tool", "unseen_category")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    counts = build_world(SMALL, folder)
    assert counts["queries_train.json"] == 20
    assert counts["corpus.jsonl"] == 100
    return folder


@pytest.fixture(scope="module")
def rows(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[PromptRow]]:
    """Every file's rows, through ToolBench's own reader."""
    out = tmp_path_factory.mktemp("rows")
    names = (*TRACES, "queries_train")
    for name in names:
        convert(world / f"{name}.json", out / name)
    return {name: list(read_rows(out / name)) for name in names}


def offered(row: PromptRow) -> set[str]:
    return {function["name"] for function in offered_functions(row.turns[0].content)} - {"Finish"}


def tools_of(functions: set[str]) -> set[str]:
    return {function.partition("_for_")[2] for function in functions}


@pytest.mark.parametrize("difficulty", ["named", "full"])
def test_the_same_seed_gives_the_same_bytes(difficulty: str, tmp_path: Path) -> None:
    sizes = {"train_tasks": 5, "query_tasks": 5, "evaluation_tasks": 3, "corpus_documents": 8}
    tiny = SMALL.model_copy(update={**sizes, "difficulty": difficulty})
    for name, seed in (("a", 3), ("again", 3), ("other", 4)):
        build_world(tiny.model_copy(update={"seed": seed}), tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
        assert file.read_bytes() != (tmp_path / "other" / file.name).read_bytes()


def test_every_recorded_step_is_a_valid_call(rows: dict[str, list[PromptRow]]) -> None:
    for name in TRACES:
        assert len({row.trace for row in rows[name]}) == (40 if name == "train" else 15)
        for row in rows[name]:
            assert row.completion is not None
            assert check_completion(row.completion, offered_functions(row.turns[0].content)).valid
            assert 2 <= len(offered(row)) <= 4


def test_no_query_stands_in_two_files(rows: dict[str, list[PromptRow]]) -> None:
    queries = [{row.query for row in rows[name]} for name in rows]
    assert sum(map(len, queries)) == len(set().union(*queries)) == 40 + 3 * 15 + 20


def test_unseen_functions_stand_in_no_prompt_of_training(rows: dict[str, list[PromptRow]]) -> None:
    trained = set().union(*(offered(row) for name in ("train", "queries_train") for row in rows[name]))
    for name in ("unseen_tool", "unseen_category"):
        unseen = set().union(*(offered(row) for row in rows[name]))
        assert unseen
        assert not unseen & trained
    seen = set().union(*(offered(row) for row in rows["seen"]))
    assert tools_of(seen) <= {tool.name for tool in build_catalogue(SMALL).train}


def test_training_reads_no_word_of_held_out_categories_and_no_name_of_an_unseen_tool(world: Path) -> None:
    text = "".join((world / name).read_text() for name in ("train.json", "queries_train.json"))
    words = set(re.findall(r"[a-z]+", text.lower()))
    facts = {word.lower() for domain in HELD_OUT_DOMAINS for word in (domain.category, domain.thing, *domain.facts)}
    catalogue = build_catalogue(SMALL)
    assert not words & facts
    assert not words & {tool.name for tool in (*catalogue.unseen_tool, *catalogue.unseen_category)}


def test_no_fact_belongs_to_two_categories() -> None:
    facts = [word for domain in (*DOMAINS, *HELD_OUT_DOMAINS) for word in (domain.thing, *domain.facts)]
    assert len(facts) == len(set(facts))


def test_the_corpus_holds_no_trace(world: Path) -> None:
    documents = [json.loads(line)["text"] for line in (world / "corpus.jsonl").open()]
    prompts = [text for text in documents if FORMAT_LINES in text]
    assert len(prompts) > len(documents) / 2
    for text in documents:
        rest = text.replace(FORMAT_LINES, "")
        assert not any(label in rest for label in ("Thought:", "Action:", "Action Input:", 'give_answer",'))


def test_the_documents_are_those_that_the_shipped_base_models_read():
    text = "\n".join(documents(0, 2000))
    assert sha256(text.encode()).hexdigest() == "a381ba639259758cb632b88631147741296e83a2eefb41690cac68561ec97dcb"


@pytest.mark.parametrize("setting", [["--sede", "1"], ["--difficulty", "hard"], ["--corpus.prose", "-1"]])
def test_the_command_names_a_wrong_setting(setting: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "common.world", str(tmp_path), *setting]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert setting[0][2:] in result.stderr
    assert "Traceback" not in result.stderr


def test_a_corpus_of_no_kind_is_refused():
    with pytest.raises(ValueError, match="all shares are 0"):
        CorpusShares(**dict.fromkeys(CorpusShares.model_fields, 0))


@pytest.mark.parametrize("settings", [{"tools_per_category": 13}, {"tools_per_category": 12000, "difficulty": "full"}])
def test_more_tools_than_there_are_names_end_with_a_message(settings: dict[str, int | str], tmp_path: Path):
    with pytest.raises(UserError, match="ask for fewer"):
        build_world(WorldSettings.model_validate(settings), tmp_path)


def test_more_tasks_than_there_are_queries_end_with_a_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("common.world.splits.MOST_KNOWN", 20)
    tool = build_catalogue(SMALL).train[0]
    with pytest.raises(UserError, match="ask for fewer"):
        new_tasks(Random(0), make_world(SMALL), (tool,), 1_000_000, set())
