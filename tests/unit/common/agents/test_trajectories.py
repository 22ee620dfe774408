"""Trajectories on disk: nothing lost, nothing doubled, whatever a crash left behind."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from common.agents.trajectories import DATASET, EPISODES, TREES, TrajectoryStore
from common.agents.types import Action, Observation, Status, Step, Trajectory, WrittenTurn
from common.errors import UserError
from common.toolbench.rows import Turn

STEP = Step(
    WrittenTurn("\nThought: é\u2028\nAction: f\nAction Input: {}", "stop", "r1", (3, 4), "hm", 9, 2),
    Action("f", "{}"),
    Observation("\ud800 half".encode("utf-8", "replace").decode(), Status.OK),
    (Turn("user", "another way"),),
)
ONE = Trajectory(
    "a/0", "a", "q", "seen", (Turn("system", "s"),), (STEP,), "finished", True, "42", "teacher", 1.5, 3, 9, 2
)


def fill(folder: Path, *episodes: str) -> TrajectoryStore:
    store = TrajectoryStore(folder)
    for episode in episodes:
        store.add(replace(ONE, episode=episode))
    return store


def test_what_is_written_is_read_back(tmp_path: Path):
    tree = replace(ONE, episode="b/0", tree={"win": True, "tree": {"size": 3}}, solved=None, final_answer=None)
    store = fill(tmp_path, "a/0")
    store.add(tree)
    assert store.read() == [ONE, tree]


def test_a_torn_last_line_is_dropped_and_its_episode_can_be_written_again(tmp_path: Path):
    store = fill(tmp_path, "a/0", "b/0")
    file = tmp_path / EPISODES
    whole = file.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole)):
        file.write_bytes(whole[:cut])
        assert [each.episode for each in store.read()] == ["a/0"]
        assert file.read_bytes() == whole[:cut], "a reader may read what another process writes"
        TrajectoryStore(tmp_path).add(replace(ONE, episode="b/0"))
        assert file.read_bytes() == whole


def test_damage_and_doubles_are_named(tmp_path: Path):
    store = fill(tmp_path, "a/0", "a/0")
    with pytest.raises(UserError, match="got the id 'a/0' twice"):
        store.read()
    (tmp_path / EPISODES).write_text('{"episode": "a/0"}\n')
    with pytest.raises(UserError, match=r"line 1 of .* is no trajectory \(task: Field required\)"):
        store.read()


def test_the_data_set_holds_every_episode_in_order(tmp_path: Path):
    store = fill(tmp_path, "b/0", "a/0")
    trees = ["c/0", "c_d/0", "c/d/0"]
    for episode in trees:
        store.add(replace(ONE, episode=episode, tree={"win": True}))
    rows = pq.read_table(store.finish()).to_pylist()
    assert [row["episode"] for row in rows] == ["a/0", "b/0", *sorted(trees)]
    assert rows[0]["steps"][0]["written"]["token_ids"] == [3, 4]
    assert rows[0]["steps"][0]["observation"] == {"text": STEP.observation.text, "status": 0, "solved": None}
    assert {path.name for path in (tmp_path / TREES).iterdir()} == {"c_0.json", "c_d_0.json", "c%2Fd_0.json"}
    assert store.finish() == tmp_path / DATASET


def test_half_a_surrogate_pair_leaves_the_file_readable(tmp_path: Path):
    """A model may escape one in its arguments, so that its final answer holds it."""
    store = TrajectoryStore(tmp_path)
    store.add(replace(ONE, final_answer="half \ud83d"))
    assert [each.final_answer for each in store.read()] == ["half ?"]
