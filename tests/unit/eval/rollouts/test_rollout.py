"""Rollouts: every task is run once, whatever interrupts them, and the table counts what came of it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import Mock, patch

import pytest
import yaml

from common.agents.episodes import SetAside
from common.agents.trajectories import EPISODES, TrajectoryStore
from common.errors import UserError
from common.settings import validate
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.commands import episodes, rollout
from eval.rollouts.results import EpisodeResult, read_results, results_of
from eval.rollouts.rollout import roll_out
from eval.rollouts.settings import RolloutSettings
from eval.rollouts.summary import Summaries, summarize
from tests.unit.eval.rollouts.recorded import REVISION, recorded_policy
from tests.unit.eval.rollouts.test_summary import EPISODE

ROOT = Path(__file__).parents[4]
TASKS = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(WorldSettings(train_tasks=1, query_tasks=0, evaluation_tasks=TASKS, corpus_documents=0), folder)
    return folder


def settings(world: Path, output: Path, **changes: object) -> RolloutSettings:
    values = {
        "policy": {"kind": "served", "url": "http://127.0.0.1:1/teacher", "model": "expert", "tokenizer": "none"},
        "environment": {"kind": "world", "folder": str(world), "splits": ["seen", "unseen_tool"]},
        "output": str(output),
    }
    return validate(RolloutSettings, values | changes, "test")


def test_every_task_is_run_and_counted(world: Path, tmp_path: Path):
    with recorded_policy():
        trajectories, set_aside = roll_out(settings(world, tmp_path, samples=2))
    assert (len(trajectories), set_aside) == (4 * TASKS, [])
    found = summarize([results_of("expert", trajectories, set_aside, settings(world, tmp_path))])
    assert [(each.group, each.episodes, each.tasks, each.solved.value) for each in found.groups] == [
        ("seen", 2 * TASKS, TASKS, 1.0),
        ("unseen_tool", 2 * TASKS, TASKS, 1.0),
    ]
    assert found.groups[0].stops == {"finished": 2 * TASKS}
    assert found.groups[0].steps_well == 1.0
    assert all(each.steps == each.steps_needed for each in found.by_steps)
    assert sum(each.episodes for each in found.by_steps) == 4 * TASKS


def test_rollouts_are_read_from_their_folders(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "rollout.yaml"
    config.write_text(yaml.safe_dump(settings(world, tmp_path / "kd").model_dump(mode="json")))
    with recorded_policy():
        assert rollout([str(config)]) == 0
    shutil.copytree(tmp_path / "kd", tmp_path / "ft")
    (tmp_path / "ft/set_aside.jsonl").write_text(json.dumps({"episode": "x/0", "reason": "gone"}) + "\n")
    assert read_results(tmp_path / "ft", "ft").set_aside == ["x/0"]
    assert episodes([f"teacher={tmp_path / 'kd'}", str(tmp_path / "ft"), "--output", str(tmp_path / "both")]) == 0
    shown = capsys.readouterr().out
    assert "teacher" in shown
    assert "1 episodes set aside" in shown
    both = Summaries.model_validate_json((tmp_path / "both/summary.json").read_bytes())
    assert [(each.group, each.model) for each in both.groups] == [
        ("seen", "teacher"),
        ("seen", "ft"),
        ("unseen_tool", "teacher"),
        ("unseen_tool", "ft"),
    ]
    lines = (tmp_path / "both/results.jsonl").read_text().splitlines()
    assert len(lines) == 4 * TASKS
    assert EpisodeResult.model_validate_json(lines[0]).steps_needed


def test_solved_episodes_become_the_rows_that_the_world_itself_has(world: Path, tmp_path: Path):
    with recorded_policy():
        roll_out(settings(world, tmp_path / "out", samples=2))
    made = convert(tmp_path / "out", tmp_path / "rows")
    assert made.skipped == {"another_of_its_task": 2 * TASKS}
    for split in ("seen", "unseen_tool"):
        convert(world / f"{split}.json", tmp_path / split)
        recorded = {row.query: (row.turns, row.completion) for row in read_rows(tmp_path / split)}
        ours = {row.query: (row.turns, row.completion) for row in read_rows(tmp_path / "rows") if row.group == split}
        assert ours == recorded


SEARCHES = (
    {"kind": "chain", "tries": 2},
    {"kind": "dfsdt"},
    {"kind": "voting", "answers": 2},
    {"kind": "sag", "candidates": 3},
    {"kind": "early_exit", "extrinsic": True, "every": 1},
)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["kind"])
def test_every_search_solves_what_its_policy_can(world: Path, tmp_path: Path, search: dict[str, object]):
    with recorded_policy():
        trajectories, _ = roll_out(settings(world, tmp_path, tasks=2, search=search))
    assert [each.solved for each in trajectories] == [True] * 4


def test_trees_are_written_as_toolbench_has_them(world: Path, tmp_path: Path):
    with recorded_policy():
        trajectories, _ = roll_out(settings(world, tmp_path / "out", search={"kind": "dfsdt"}))
    summary = convert(tmp_path / "out" / "answers", tmp_path / "rows")
    assert (summary.traces, summary.rows) == (2 * TASKS, sum(len(each.steps) for each in trajectories))


def test_the_deepest_tree_that_settings_allow_can_be_read_again(world: Path, tmp_path: Path):
    """Readers of JSON refuse what nests deeper than 200, which would leave a rollout that can't go on."""
    with pytest.raises(UserError, match=r"search\.dfsdt\.max_depth"):
        settings(world, tmp_path, search={"kind": "dfsdt", "max_depth": 65})
    tree: dict[str, object] = {}
    for _ in range(64 + 3):  # the last call begins above the depth, and is three nodes
        tree = {"children": [tree]}
    store = TrajectoryStore(tmp_path)
    store.add(replace(EPISODE, tree={"tree": {"tree": tree}}))
    assert store.read()[0].tree == {"tree": {"tree": tree}}


def test_a_missing_kind_is_named(world: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"the key 'policy.kind' is required and missing"):
        settings(world, tmp_path, policy={"url": "http://127.0.0.1:1/teacher"})


def test_more_tasks_go_on_and_other_settings_are_refused(world: Path, tmp_path: Path):
    with recorded_policy():
        few, _ = roll_out(settings(world, tmp_path, tasks=2))
        more, _ = roll_out(settings(world, tmp_path, tasks=3))
        assert (len(few), len(more)) == (4, 6)
        assert {each.episode for each in few} < {each.episode for each in more}
        with pytest.raises(UserError, match=r"with other settings \(sampling.temperature\)"):
            roll_out(settings(world, tmp_path, sampling={"temperature": 1.0}))


def test_settings_that_made_nothing_yet_may_be_mended(world: Path, tmp_path: Path):
    """As after a refusal of the service, whose message asks for it."""
    with pytest.raises(UserError, match="no fast tokenizer at none"):
        roll_out(settings(world, tmp_path))
    with recorded_policy():
        roll_out(settings(world, tmp_path, tasks=1, sampling={"temperature": 1.0}))


def test_a_helper_may_be_served_elsewhere_and_a_damaged_config_is_named(world: Path, tmp_path: Path):
    def named(port: int, model: str = "expert") -> RolloutSettings:
        helper = {"kind": "served", "url": f"http://127.0.0.1:{port}/t", "model": model, "tokenizer": "none"}
        return settings(world, tmp_path, tasks=1, search={"kind": "early_exit", "helper": helper})

    with recorded_policy():
        roll_out(named(1))
        roll_out(named(2))
        with pytest.raises(UserError, match=r"other settings \(search.helper.model\)"):
            roll_out(named(2, "other"))
        (tmp_path / "config.yaml").write_text(": : {")
        with pytest.raises(UserError, match=r"config\.yaml is damaged"):
            roll_out(named(2))


def test_tasks_that_changed_between_two_starts_are_refused(world: Path, tmp_path: Path):
    changed = tmp_path / "world"
    shutil.copytree(world, changed)
    with recorded_policy():
        done, _ = roll_out(settings(changed, tmp_path / "out", tasks=1))
        for file in changed.rglob("*"):
            if file.is_file() and file.suffix in (".json", ".jsonl"):
                file.write_text(file.read_text().replace(json.dumps(done[0].query)[1:-1], "something else"))
        with pytest.raises(UserError, match=f"the task {done[0].task} asks 'something else', but asked"):
            roll_out(settings(changed, tmp_path / "out", tasks=2))


def test_other_weights_do_not_go_on_with_a_rollout(world: Path, tmp_path: Path):
    with recorded_policy():
        roll_out(settings(world, tmp_path, tasks=1))
    opened = Mock(side_effect=UserError("asked"))
    with patch("eval.rollouts.rollout.open_policy", opened), pytest.raises(UserError, match="asked"):
        roll_out(settings(world, tmp_path, tasks=2))
    assert opened.call_args.args[-1] == REVISION


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_can_be_no_folder_is_refused(world: Path, tmp_path: Path, place: str):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"can't write to .*; give another output folder"):
        roll_out(settings(world, tmp_path / place))


def test_episodes_that_were_set_aside_are_an_exit_code(world: Path, tmp_path: Path):
    config = tmp_path / "rollout.yaml"
    config.write_text(yaml.safe_dump(settings(world, tmp_path / "out", tasks=1).model_dump(mode="json")))
    for broken, code in (([SetAside("a/0", "gone")], 1), ([], 0)):
        with patch("eval.rollouts.rollout.roll_out", return_value=([EPISODE], broken)):
            (tmp_path / "out").mkdir(exist_ok=True)
            assert rollout([str(config)]) == code


def test_killed_at_any_moment_it_goes_on_with_nothing_lost_or_doubled(world: Path, tmp_path: Path):
    config, output = tmp_path / "rollout.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(settings(world, output, in_flight=2).model_dump(mode="json")))
    command = [sys.executable, "-m", "tests.unit.eval.rollouts.recorded", str(config)]
    draw = Random(3)
    for wanted in (1, 7, 15):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and written(output) < wanted:
                time.sleep(0.005)
            time.sleep(draw.random() / 50)
            process.send_signal(signal.SIGKILL)
        assert written(output) >= wanted
    before = TrajectoryStore(output).read()
    assert subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 0
    after = TrajectoryStore(output).read()
    assert after[: len(before)] == before
    assert len({each.episode for each in after}) == len(after) == 2 * TASKS
    assert all(each.solved for each in after)


def written(output: Path) -> int:
    file = output / EPISODES
    return file.read_bytes().count(b"\n") if file.exists() else 0
