"""Where answers are read from, and what is said of files that are missing, torn, or answer other queries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.agents.trajectories import TrajectoryStore
from common.agents.types import Trajectory
from common.errors import UserError
from common.settings import validate
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.rollouts.rollout import roll_out
from eval.rollouts.settings import RolloutSettings
from eval.tooleval.reading import check_same_queries, chosen, read_groups, read_query_ids
from tests.unit.eval.rollouts.recorded import recorded_policy
from tests.unit.eval.tooleval.made import finished
from tests.unit.eval.tooleval.test_conversion import tree

TREE = json.dumps(tree(trys=[]))
TASKS = 3
EPISODE = Trajectory("a/0", "a", "q", "seen", (), (), "max_steps", None, None, "student", 1.0, 1, 1, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(WorldSettings(train_tasks=1, query_tasks=0, evaluation_tasks=TASKS, corpus_documents=0), folder)
    return folder


def rolled_out(world: Path, output: Path, **changes: object) -> list[Trajectory]:
    values = {
        "policy": {"kind": "served", "url": "http://127.0.0.1:1/teacher", "model": "expert", "tokenizer": "none"},
        "environment": {"kind": "world", "folder": str(world), "splits": ["seen", "unseen_tool"]},
        "output": str(output),
    }
    with recorded_policy():
        return roll_out(validate(RolloutSettings, values | changes, "test"))[0]


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def test_both_searches_of_ours_are_read_as_the_same_answers(world: Path, tmp_path: Path):
    """A chain's trajectory and DFSDT's tree of the same solutions: converted alike, and nothing is lost."""
    chains = rolled_out(world, tmp_path / "chain")
    rolled_out(world, tmp_path / "dfsdt", search={"kind": "dfsdt"})
    by_chain = read_groups("kd", tmp_path / "chain", 0)
    assert {group: len(answers) for group, answers in by_chain.items()} == {"seen": TASKS, "unseen_tool": TASKS}
    assert read_groups("kd", tmp_path / "dfsdt", 0) == by_chain
    for trajectory in chains:
        answer = by_chain[trajectory.group][trajectory.task]
        assert (answer.query, answer.said, answer.finishes) == (trajectory.query, trajectory.final_answer, True)
        names = [step.action.name for step in trajectory.steps]
        assert [node.message["name"] for node in answer.path] == names
        assert names[-1] in {tool["name"] for tool in answer.available_tools}


def test_an_episode_that_was_cut_off_keeps_its_thoughts(world: Path, tmp_path: Path):
    rolled_out(world, tmp_path, tasks=1, search={"kind": "chain", "max_steps": 1})
    answers = [answer for of_group in read_groups("kd", tmp_path, 0).values() for answer in of_group.values()]
    assert len(answers) == 2
    for answer in answers:
        assert [node.role for node in answer.path] == ["assistant", "tool"]
        assert (answer.finishes, answer.said) == (False, "")
        assert answer.path[1].message["response"]


def test_several_episodes_of_a_task_are_refused(tmp_path: Path):
    store = TrajectoryStore(tmp_path)
    store.add(EPISODE)
    store.add(replace(EPISODE, episode="a/1"))
    with pytest.raises(UserError, match=r"the episode a/1 .* is the second of its task; .*`samples: 1`"):
        read_groups("kd", tmp_path, 0)


def test_the_layouts_of_toolbench(tmp_path: Path):
    converted = json.dumps({"7": finished().record()})
    folder = write(tmp_path / "kd", G2_category=converted)
    write(folder / "G1_tool", **{"588_CoT@1": TREE, "608_CoT@1": TREE})
    groups = read_groups("kd", folder, 0)
    assert {group: sorted(answers) for group, answers in groups.items()} == {
        "G1_tool": ["588", "608"],
        "G2_category": ["7"],
    }
    assert groups["G1_tool"]["588"].method == "CoT@1"
    assert groups["G2_category"]["7"] == finished()
    assert read_groups("kd", folder / "G2_category.json", 0) == {"G2_category": {"7": finished()}}
    assert read_groups("kd", folder / "G1_tool", 0) == {"G1_tool": groups["G1_tool"]}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds none; expected episodes.jsonl, answer trees, or converted files"),
        ({"G1": "{}"}, "holds none; expected"),
        ({"588_CoT": TREE[:-9]}, r"588_CoT\.json is torn or no JSON"),
        ({"588_CoT": ""}, r"588_CoT\.json is torn or no JSON"),
        ({"588_CoT": "[1]"}, "holds no JSON object"),
        (
            {"588_CoT": '{"answer_generation": {}}'},
            r"588_CoT\.json is no answer tree: .*'answer_generation.query' is missing",
        ),
        ({"588_CoT": TREE, "588_DFS": TREE}, "588_DFS.json is a second answer to the query 588"),
        (
            {"G1": '{"7": {"query": "q"}}'},
            r"G1\.json is no converted file of ToolEval's: the field '7.answer' is missing",
        ),
        ({"G1": '{"7": 3}'}, "is no converted file of ToolEval's: 7 is a whole number, expected an object"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, files: dict[str, str], said: str):
    with pytest.raises(UserError, match=said):
        read_groups("kd", write(tmp_path / "kd", **files), 0)


def test_a_missing_place_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"the answers of kd: there is no .*nowhere"):
        read_groups("kd", tmp_path / "nowhere", 0)


def test_query_ids_choose_and_a_missing_answer_is_named(tmp_path: Path):
    ids = read_query_ids(write(tmp_path, G1='{"7": 0, "9": 0}'), ["G1"])
    answers = {query: finished() for query in ("9", "8", "7")}
    assert list(chosen("kd", {"G1": answers}, ids)["G1"]) == ["7", "9"]
    with pytest.raises(UserError, match="kd has no answer to 1 of 2 queries of G1, the first 9"):
        chosen("kd", {"G1": {"7": finished()}}, ids)
    with pytest.raises(UserError, match="kd has no answer to 2 of 2 queries of G1"):
        chosen("kd", {}, ids)
    with pytest.raises(UserError, match=r"there is no .*G2\.json with the ids of the group's queries"):
        read_query_ids(tmp_path, ["G2"])


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"G2": {}}, r"kd answers the groups \['G1'\], ft \['G2'\]"),
        ({"G1": {}}, "kd in G1 answers the query 7, ft in G1 doesn't"),
        ({"G1": {"7": finished(), "8": finished()}}, "ft in G1 answers the query 8, kd in G1 doesn't"),
        ({"G1": {"7": finished(query="Other?")}}, "the query 7 is 'How many.' to kd in G1, and 'Other.' to ft in G1"),
    ],
)
def test_agents_that_answered_other_queries_are_not_compared(second: dict, said: str):
    with pytest.raises(UserError, match=said):
        check_same_queries({"kd": {"G1": {"7": finished()}}, "ft": second})
    check_same_queries({"kd": {"G1": {"7": finished()}}, "ft": {"G1": {"7": finished("other", " How many?\n")}}})
