"""The gate: each of its checks passes where it should, and fails alone where one thing is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster.experiment.gate import SHUFFLED, gate, rule_success
from cluster.experiment.settings import ExperimentSettings
from cluster.experiment.workspace import SEEN, UNSEEN, Workspace, new_manifest
from common.agents.trajectories import TrajectoryStore
from common.agents.types import Trajectory
from common.settings import load
from common.toolbench.rows import Turn
from common.world.settings import WorldSettings
from common.world.traces import system_prompt
from eval.compare.manifest import GateCheck
from eval.results import Evaluation, Figure, Judgement, write_evaluation
from tests.unit.common.world.worlds import drawn

CONFIG = Path(__file__).resolve().parents[4] / "cluster/configs/experiment-embedded.yaml"
TASKS = 60
HOLDS = {"expert": (0.9, 0.8), SHUFFLED: (0.2, 0.1), "A-s0": (0.7, 0.4)}
"""What each solves of seen and of unseen tools, where all checks pass."""
BLANK = Trajectory("", "", "", "", (), (), "finished", None, None, "student", 0, 0, 0, 0)


def write_episodes(workspace: Workspace, name: str, shares: tuple[float, float]) -> None:
    """Episodes of TASKS tasks of each split, of which the first are solved; each tool has two tasks."""
    folder = workspace.episodes(name)
    folder.mkdir(parents=True)
    policy = {"kind": "served", "url": "http://x", "model": name, "tokenizer": "t", "max_length": 64}
    settings = {"policy": policy, "environment": {"kind": "world", "folder": "gone"}, "output": str(folder)}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    store = TrajectoryStore(folder)
    tasks = drawn("described")[1]
    for split, share in zip((SEEN, UNSEEN), shares, strict=True):
        for number in range(TASKS):
            opening = (Turn("system", system_prompt(tasks[split][number // 2].apis)),)
            store.add(
                replace(
                    BLANK,
                    episode=f"{split}-{number}/0",
                    task=f"{split}-{number}",
                    group=split,
                    opening=opening,
                    solved=number < share * TASKS,
                )
            )


def judged(valid: float) -> Evaluation:
    return Evaluation(
        judgements=[
            Judgement(
                model="student", group=SEEN, rows=10, tokens=10, perplexity=1.0,
                measures={"valid": Figure(value=valid)}, parts={}, steps={}, left_out={}, written_tokens=10,
            )
        ]
    )  # fmt: skip


def checks(
    tmp_path: Path, valid: float = 0.0, difficulty: str = "described", **shares: tuple[float, float]
) -> dict[str, GateCheck]:
    overrides = ["--runs", str(tmp_path), "--seeds", "[0]", "--arms", "[A]", "--world.difficulty", difficulty]
    overrides += ["--world.train_tasks", "150", "--world.evaluation_tasks", "40"]
    settings = load(ExperimentSettings, CONFIG, overrides)
    workspace = Workspace(settings, new_manifest(settings))
    for name, solved in (HOLDS | shares).items():
        write_episodes(workspace, name, solved)
    write_evaluation(workspace.scores("student"), judged(valid), [])
    return {each.check: each for each in gate(workspace)}


def failed(found: dict[str, GateCheck]) -> list[str]:
    return [name for name, each in found.items() if not each.passed]


def test_a_world_an_expert_and_a_baseline_as_they_should_be_pass(tmp_path: Path):
    found = checks(tmp_path)
    assert failed(found) == []
    assert found["the expert leads A with unseen tools, by"].value == pytest.approx(0.4)
    assert found["the expert loses by shuffled descriptions"].value == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({SHUFFLED: (0.9, 0.6)}, "the expert loses by shuffled descriptions"),
        ({"A-s0": (0.9, 0.4)}, "A solves with seen tools"),
        ({"A-s0": (0.3, 0.1)}, "A solves with seen tools"),
        ({"A-s0": (0.45, 0.4)}, "A solves fewer with unseen tools, by"),
        ({"A-s0": (0.84, 0.7)}, "the expert leads A with unseen tools, by"),
    ],
)
def test_what_is_wrong_fails_by_name_and_alone(tmp_path: Path, wrong: dict[str, tuple[float, float]], check: str):
    assert failed(checks(tmp_path, **wrong)) == [check]


def test_an_untuned_student_that_writes_calls_fails(tmp_path: Path):
    assert failed(checks(tmp_path, valid=0.06)) == ["valid calls of the untuned student"]


def test_a_world_whose_names_hold_the_word_fails(tmp_path: Path):
    assert "a rule that reads names solves" in failed(checks(tmp_path, difficulty="named"))


def test_blind_rules_are_judged_on_held_out_tasks_alone():
    solved = rule_success(WorldSettings(difficulty="described", train_tasks=150, evaluation_tasks=40), 40)
    assert set(solved) == {"reads names", "copies demonstrations"}
    assert max(solved.values()) <= 0.2
